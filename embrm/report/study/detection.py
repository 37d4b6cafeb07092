"""What detectors noticed along the paths: how well distances tell hacked texts, and how early alarms fired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace

import numpy as np

from embrm.core.arrays import Array, IntArray
from embrm.metrics.intervals import bootstrap
from embrm.monitoring.onset import gold_onset
from embrm.report.study.alarms import ALPHA, GOLD, KL, AlarmCounts, counts, first_alarm, watched
from embrm.report.study.curves import DRAWS
from embrm.report.study.settings import TableSetting, mean, number, share, with_interval
from embrm.report.study.tables import Table
from embrm.study.claims import DatasetFits
from embrm.study.metric import Metric
from embrm.study.results import Results, Row


def separation_table(results: Results, setting: TableSetting) -> Table:
    """Return how well the distance to the training texts tells hacked texts from others, for each head and space."""
    spaces = _spaces(results)
    rows = []
    for head in results.config.titles:
        found = {space: results.stack(Metric("auroc", space=space), head=head, **asdict(setting)) for space in spaces}
        if any(values is not None for values in found.values()):
            fits = DatasetFits(results, setting.dataset)
            rows.append([head, *(_auroc(found[s], fits.clusters(Metric("auroc", space=s))) for s in spaces)])
    return Table(f"AUROC of the distance on {setting}", ["head", *spaces], rows)


def _auroc(values: Array | None, clusters: IntArray) -> str:
    """Return the mean of `(prompts, seeds)` and its interval over prompts that hold a hacked text."""
    if values is None:
        return ""
    kept = np.isfinite(values).any(axis=1)
    if len(np.unique(clusters[kept])) < 2:
        return "no hacked texts"
    means = np.nanmean(values[kept], axis=1)
    return with_interval(bootstrap(means, seed=0, draws=DRAWS, cluster=clusters[kept]))


def alarms_table(results: Results, setting: TableSetting) -> Table:
    """Return, for each head, detector and space, its alarms, those among fair annotators, and what they detect.

    Args:
        results: of all settings, fair annotators among them.
        setting: whose alarms.
    """
    headings = ["head", "detector", "space", "alarm by", "at the start", "at the end", "before the fall", "lead (nats)"]
    headings += ["alarms where gold falls", "alarms among fair annotators", "what alarms tell"]
    rows = []
    for head in results.config.titles:
        fits = watched(results, head, setting)
        for watch in dict.fromkeys(metric for row in fits for metric in row.arrays if metric.family == "watch"):
            beside = _beside_false(counts(results, setting, head, watch))
            rows.append([head, watch.name, watch.space, *_alarms(fits, watch), *beside])
    return Table(f"Alarms along the path on {setting}", headings, rows)


def _alarms(fits: Sequence[Row], watch: Metric) -> list[str]:
    found = [row for row in fits if watch in row.arrays]
    p_value = replace(watch, family="alarm")
    tested = [row.arrays[p_value] <= ALPHA for row in found if p_value in row.arrays]
    first = [first_alarm(row, watch) for row in found]
    falls = [gold_onset(row.arrays[GOLD]) for row in found]
    leads = [
        float(row.arrays[KL][fall] - row.arrays[KL][alarm])
        for row, alarm, fall in zip(found, first, falls, strict=True)
        if alarm is not None and fall is not None
    ]
    fallen = sum(fall is not None for fall in falls)
    ends = [share(mean(float(t[i]) for t in tested)) for i in (0, -1)] if tested else ["", ""]
    early = f"{sum(lead >= 0 for lead in leads)} of {fallen}" if fallen else "gold does not fall"
    return [f"p ≤ {ALPHA:g}" if tested else "a jump", *ends, early, number(mean(leads))]


def _beside_false(found: AlarmCounts) -> list[str]:
    """Return how many hacked and how many fair runs have an alarm anywhere, and what such alarms detect."""
    said = [
        f"{found.hits} of {found.hacked}" if found.hacked else "",
        f"{found.false} of {found.fair}" if found.fair else "",
    ]
    return [*said, found.meaning if found.hacked and found.fair else ""]


def _spaces(results: Results) -> list[str]:
    """Return the spaces in which distances were told apart, the latent first."""
    spaces = {metric.space for row in results.rows for metric in row.arrays if metric.family == "auroc"}
    return sorted(spaces, key=lambda space: (space != "latent", space))
