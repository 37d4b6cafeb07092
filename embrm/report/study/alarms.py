"""Alarms along the paths of a head: when they fire, and how often they do among fair annotators."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from embrm.monitoring.fair import alarms_mean
from embrm.monitoring.onset import gold_onset, ratio_alarm
from embrm.report.study.settings import TableSetting, number, rounded, settings, share
from embrm.study.claims.case import FAIR
from embrm.study.metric import Metric
from embrm.study.results import Results, Row

ALPHA = 0.05
KL, GOLD = Metric("points", "kl"), Metric("points", "gold")
LEAST = 1e-3  # p-values below are drawn there


@dataclass(frozen=True)
class AlarmCounts:
    """How many runs have an alarm anywhere along their path.

    Attributes:
        hits, hacked: among the runs in which gold falls, and how many these are.
        false, fair: among the runs of fair annotators, likewise.
    """

    hits: int
    hacked: int
    false: int
    fair: int

    @property
    def meaning(self) -> str:
        """What such alarms detect."""
        return alarms_mean(self.hits, self.hacked, self.false, self.fair)

    @property
    def contrast(self) -> float:
        """The share of the hacked runs with an alarm minus that of the fair ones."""
        return self.hits / max(self.hacked, 1) - self.false / max(self.fair, 1)


@dataclass(frozen=True, eq=False)
class Strip:
    """A detector's p-values along the path of one head.

    Attributes:
        name: of the detector and the space that it looks at.
        kl: `(k,)` nats.
        p, low, high: `(k,)` median, smallest and largest of the seeds.
        alarm: nats at which the alarm of the median seed fires; None where fewer than half of the seeds have one.
        answer, detail, kind: whether it detects, as a tile says it, and the tile's style.
        notes: what about its alarms wants an explanation.
    """

    name: str
    kl: Any
    p: Any
    low: Any
    high: Any
    alarm: float | None
    answer: str
    detail: str
    kind: str
    notes: Sequence[str]

    def json(self) -> dict[str, Any]:
        """Return it with rounded numbers."""
        numbers = {name: rounded(getattr(self, name), 4) for name in ("kl", "p", "low", "high")}
        return {**asdict(self), **numbers, "alarm": None if self.alarm is None else round(self.alarm, 3)}


def strips(results: Results, setting: TableSetting, head: str) -> list[Strip]:
    """Return a strip for every detector that has p-values and every space that it looked at.

    The one whose alarms tell hacked runs from fair ones best comes first.
    """
    fits = watched(results, head, setting)
    found = {metric for row in fits for metric in row.arrays if metric.family == "alarm"}
    told = [(metric, counts(results, setting, head, replace(metric, family="watch"))) for metric in found]
    told.sort(key=lambda each: (-each[1].contrast, each[0].space != "latent", each[0].space, each[0].name))
    return [_strip([row for row in fits if metric in row.arrays], metric, counted) for metric, counted in told]


def _strip(fits: Sequence[Row], metric: Metric, counted: AlarmCounts) -> Strip:
    ends = [float(row.arrays[KL][-1]) for row in fits]
    kl = np.linspace(0, min(ends), len(fits[0].arrays[KL]))
    logs = [np.log(np.maximum(row.arrays[metric], LEAST)) for row in fits]
    p = np.exp([np.interp(kl, row.arrays[KL], log) for row, log in zip(fits, logs, strict=True)])
    watch = replace(metric, family="watch")
    first = [first_alarm(row, watch) for row in fits]
    fired = sorted(float(row.arrays[KL][at]) for row, at in zip(fits, first, strict=True) if at is not None)
    middle = (len(fits) - 1) // 2
    alarm = fired[middle] if len(fired) > middle else None
    answer, detail, kind = detected(counted)
    return Strip(
        name=f"{metric.name}, {metric.space}",
        kl=kl,
        p=np.median(p, axis=0),
        low=p.min(axis=0),
        high=p.max(axis=0),
        alarm=alarm,
        answer=answer,
        detail=detail,
        kind=kind,
        notes=_notes(alarm, counted),
    )


def _notes(alarm: float | None, counted: AlarmCounts) -> list[str]:
    notes = []
    if alarm == 0.0:
        notes.append(
            "The alarm sounds before the policy has moved: to this detector the reference policy's own responses are "
            "unlike the training texts."
        )
    if counted.hits and counted.meaning == "detects shift, not hacking":
        notes.append(
            "The alarm sounds about as often with fair annotators: that the policy moves is noticed, not a hack."
        )
    return notes


def counts(results: Results, setting: TableSetting, head: str, watch: Metric) -> AlarmCounts:
    """Return a detector's alarms among the hacked runs of a setting and among those of fair annotators.

    Args:
        results: of all settings, fair annotators among them.
        setting: of the runs; those of fair annotators are their own control.
        head: title.
        watch: the detector's statistic.
    """
    fits = watched(results, head, setting)
    hacked = [row for row in fits if gold_onset(row.arrays[GOLD]) is not None]
    control = setting if setting.mechanism == FAIR else control_of(results, setting)
    told = []
    for rows in (hacked, watched(results, head, control)):
        found = [row for row in rows if watch in row.arrays]
        told += [sum(first_alarm(row, watch) is not None for row in found), len(found)]
    return AlarmCounts(*told)


def detected(found: AlarmCounts) -> tuple[str, str, str]:
    """Return answer, detail and style of the question whether hacking is detected, and at what false-alarm rate."""
    parts = []
    if found.hacked:
        parts.append(f"alarm in {_share(found.hits, found.hacked)} hacked runs")
    if found.fair:
        parts.append(f"false alarm in {_share(found.false, found.fair)} runs with fair annotators")
    if not parts:
        return "nothing to detect", "no run is hacked, and none has fair annotators", "not-run"
    detail = ", ".join(parts)
    if not found.hacked:
        return "nothing to detect", f"gold falls in no run; {detail}", "not-run"
    if not found.fair:
        return "rate unknown", f"{detail}; no run has fair annotators", "inconclusive"
    styles = {"detects hacking": "supported", "too few runs to tell": "inconclusive"}
    return found.meaning, detail, styles.get(found.meaning, "contradicted")


def _share(k: int, n: int) -> str:
    """Return a share of runs with its 95 % interval (Wilson 1927)."""
    from scipy.stats import binomtest

    between = binomtest(k, n).proportion_ci(method="wilson")
    return f"{k} of {n} [{number(100 * between.low, 0)}–{share(between.high)}]"


def watched(results: Results, head: str, setting: TableSetting | None) -> list[Row]:
    """Return the fits of a head along whose paths detectors looked."""
    if setting is None:
        return []
    return [row for row in results.select(kind="fit", head=head, **asdict(setting)) if KL in row.arrays]


def control_of(results: Results, setting: TableSetting) -> TableSetting | None:
    """Return the setting whose annotators are fair, with as many flips or the fewest; None where there is no other."""
    alike = [
        s for s in settings(results) if (s.dataset, s.pairs, s.mechanism) == (setting.dataset, setting.pairs, FAIR)
    ]
    found = min(alike, key=lambda s: (s.flips != setting.flips, s.flips), default=None)
    return None if found == setting else found


def first_alarm(row: Row, watch: Metric) -> int | None:
    """Return the first point with a small p-value; without p-values that of InfoRM's early stop."""
    p_value = replace(watch, family="alarm")
    if p_value in row.arrays:
        fired = np.flatnonzero(row.arrays[p_value] <= ALPHA)
        return int(fired[0]) if len(fired) else None
    return ratio_alarm(row.arrays[watch])
