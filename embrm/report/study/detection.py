"""What detectors noticed along the paths: how well distances tell hacked texts, and how early alarms fired."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict

import numpy as np

from embrm.core.arrays import Array
from embrm.metrics.intervals import bootstrap
from embrm.monitoring.onset import gold_onset, ratio_alarm
from embrm.report.study.curves import DRAWS
from embrm.report.study.settings import TableSetting, mean, number, share, with_interval
from embrm.report.study.tables import Table
from embrm.study.results import Results, Row, validation

ALPHA = 0.05


def separation_table(results: Results, setting: TableSetting) -> Table:
    """Return how well the distance to the training texts tells hacked texts from others, for each head and space."""
    spaces = _names(results, "auroc.")
    rows = []
    for head in results.config.titles:
        found = {space: results.stack(f"auroc.{space}", head=head, **asdict(setting)) for space in spaces}
        if any(values is not None for values in found.values()):
            rows.append([head, *(_auroc(values) for values in found.values())])
    return Table(f"AUROC of the distance on {setting}", ["head", *spaces], rows)


def _auroc(values: Array | None) -> str:
    """Return the mean of `(prompts, seeds)` and its interval over held-out prompts that hold a hacked text."""
    if values is None:
        return ""
    held = values[~validation(len(values))]
    kept = held[np.isfinite(held).any(axis=1)]
    return (
        with_interval(bootstrap(np.nanmean(kept, axis=1), seed=0, draws=DRAWS)) if len(kept) > 1 else "no hacked texts"
    )


def alarms_table(results: Results, setting: TableSetting) -> Table:
    """Return, for each head, detector and space, in which share of the seeds it fired and how long before the fall."""
    headings = ["head", "detector", "space", "alarm by", "at the start", "at the end", "before the fall", "lead (nats)"]
    rows = []
    for head in results.config.titles:
        fits = [row for row in results.select(kind="fit", head=head, **asdict(setting)) if "watch.kl" in row.arrays]
        for name in dict.fromkeys(name for row in fits for name in _watched(row)):
            rows.append([head, *name.partition(".")[::2], *_alarms(fits, name)])
    return Table(f"Alarms along the path on {setting}", headings, rows)


def _watched(row: Row) -> Iterator[str]:
    for name in row.arrays:
        if name.startswith("watch.") and name not in ("watch.kl", "watch.gold"):
            yield name.removeprefix("watch.")


def _alarms(fits: Sequence[Row], name: str) -> list[str]:
    found = [row for row in fits if f"watch.{name}" in row.arrays]
    tested = [row.arrays[f"alarm.{name}"] <= ALPHA for row in found if f"alarm.{name}" in row.arrays]
    first = [_first_alarm(row, name) for row in found]
    falls = [gold_onset(row.arrays["watch.gold"]) for row in found]
    leads = [
        float(row.arrays["watch.kl"][fall] - row.arrays["watch.kl"][alarm])
        for row, alarm, fall in zip(found, first, falls, strict=True)
        if alarm is not None and fall is not None
    ]
    fallen = sum(fall is not None for fall in falls)
    ends = [share(mean(float(t[i]) for t in tested)) for i in (0, -1)] if tested else ["", ""]
    early = f"{sum(lead >= 0 for lead in leads)} of {fallen}" if fallen else "gold does not fall"
    return [f"p ≤ {ALPHA:g}" if tested else "a jump", *ends, early, number(mean(leads))]


def _first_alarm(row: Row, name: str) -> int | None:
    """Return the first point with a small p-value; without p-values that of InfoRM's early stop."""
    if f"alarm.{name}" in row.arrays:
        fired = np.flatnonzero(row.arrays[f"alarm.{name}"] <= ALPHA)
        return int(fired[0]) if len(fired) else None
    return ratio_alarm(row.arrays[f"watch.{name}"])


def _names(results: Results, prefix: str) -> list[str]:
    names = {name.removeprefix(prefix) for row in results.rows for name in row.arrays if name.startswith(prefix)}
    return sorted(names, key=lambda name: (name != "latent", name))
