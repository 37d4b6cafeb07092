"""Gold along paths and among best-of-n choices, on the prompts and topics on which claims are judged."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from embrm.core.arrays import Array, BoolArray, IntArray
from embrm.metrics.intervals import Interval, bootstrap
from embrm.report.study.settings import TableSetting, rounded
from embrm.study.claims import Cells, DatasetFits, GoldCurves, Sample, cross_fitted, drop
from embrm.study.metric import Metric
from embrm.study.results import Results

Measure: TypeAlias = Literal["path", "bon"]
MEASURES: tuple[Measure, ...] = ("path", "bon")
CONTROLS = ("oracle", "length", "random")
BENT = ("over", "under")  # measured under the mean of bent scores, for a claim: no rules
PEAK_DRAWS = 400  # of the bootstrap of what is gained and lost
LEVEL = 0.95
DRAWS = 500  # of every bootstrap of the report: verdicts, which need more, are computed with the claims


@dataclass(frozen=True, eq=False)
class GoldCurve:
    """Gold gained over the reference policy by one head under one rule, at each KL of the path or size of the choice.

    Attributes:
        head, rule: titles; of a control the rule is "mean".
        gold: `(k,)` gain with its interval over topics and seeds; a path ends where a seed's pool is not reliable.
        proxy: `(k,)` the rule's own gain in sd under the reference policy, with its interval over seeds; None where it
            has none.
    """

    head: str
    rule: str
    gold: Interval
    proxy: Interval | None = None

    def json(self) -> dict[str, Any]:
        """Return its numbers, rounded."""
        ends = ("estimate", "low", "high")
        band = {name: rounded(getattr(self.gold, name)) for name in ends}
        proxy = {} if self.proxy is None else {f"proxy_{name}": rounded(getattr(self.proxy, name)) for name in ends}
        return {"head": self.head, "rule": self.rule, **band, **proxy}


def lines(results: Results, setting: TableSetting, measure: Measure) -> Iterator[GoldCurve]:
    """Yield a line for every head and rule that were measured in a setting."""
    found = [
        (head, rule, gold)
        for head in results.config.titles
        for rule in rules_of(results, setting, head, measure)
        if (gold := measured(results, setting, head, Metric(measure, rule))) is not None and gold.values.shape[-1] > 1
    ]
    gains = intervals([gold.gain for _, _, gold in found])
    for (head, rule, gold), gain in zip(found, gains, strict=True):
        proxy = results.stack(Metric("proxy", rule), head=head, **asdict(setting)) if measure == "path" else None
        reach = gold.values.shape[-1]
        yield GoldCurve(head, rule, gain, None if proxy is None else over_seeds(proxy[:reach]))


def over_seeds(values: Array) -> Interval:
    """Return the mean of `(k, seeds)` with Student's 95 % interval over the seeds; of one seed the mean alone."""
    from scipy.stats import t

    seeds = values.shape[1]
    mean = values.mean(axis=1)
    half = np.zeros_like(mean)
    if seeds > 1:
        half = t.ppf(0.5 + LEVEL / 2, seeds - 1) * values.std(axis=1, ddof=1) / np.sqrt(seeds)
    return Interval(mean, mean - half, mean + half, seeds, LEVEL)


def controls(results: Results, dataset: str, measure: Measure) -> Iterator[GoldCurve]:
    """Yield the lines of the oracle, of length and of a random choice on a data set, where they were measured."""
    found = {name: control(results, dataset, name, Metric(measure, "mean")) for name in CONTROLS}
    there = {name: gold.gain for name, gold in found.items() if gold is not None}
    for name, gain in zip(there, intervals(list(there.values())), strict=True):
        yield GoldCurve(name, "mean", gain)


def rules_of(results: Results, setting: TableSetting, head: str, measure: Measure) -> list[str]:
    """Return the rules that a head was measured under, the configuration's first and in its order."""
    row = next(results.select(kind="fit", head=head, **asdict(setting)), None)
    found = [] if row is None else [metric.name for metric in row.arrays if metric.family == measure]
    found = [name for name in found if name not in BENT]
    order = [rule.label for rule in results.config.rules]
    return sorted(found, key=lambda rule: (order.index(rule) if rule in order else len(order), rule))


def main_rule(results: Results, setting: TableSetting, head: str) -> str | None:
    """Return the rule that tables measure a head under: the mean, or else its first; None without any."""
    found = rules_of(results, setting, head, "path") or rules_of(results, setting, head, "bon")
    return "mean" if "mean" in found else next(iter(found), None)


@dataclass(frozen=True, eq=False)
class MeasuredGold:
    """Numbers of prompts.

    Attributes:
        values: `(prompts, seeds, k)`.
        clusters: `(prompts,)` the topic of each.
    """

    values: Array
    clusters: IntArray

    @property
    def gain(self) -> MeasuredGold:
        """Return what is gained over the first of the `k`, which is the reference policy."""
        return MeasuredGold(self.values - self.values[..., :1], self.clusters)


def measured(results: Results, setting: TableSetting, head: str, metric: Metric) -> MeasuredGold | None:
    """Return a head's gold, cut before the first point where any seed has no reliable number."""
    stack = results.stack(metric, head=head, **asdict(setting))
    return None if stack is None else _reliable(stack, results, setting.dataset, metric)


def control(results: Results, dataset: str, name: str, metric: Metric) -> MeasuredGold | None:
    """Return a control's gold with one seed, likewise."""
    row = next(results.select(kind="control", dataset=dataset, head=name), None)
    return (
        None
        if row is None or metric not in row.arrays
        else _reliable(row.arrays[metric][:, None], results, dataset, metric)
    )


def _reliable(stack: Array, results: Results, dataset: str, metric: Metric) -> MeasuredGold:
    values: Array = stack.astype(np.float64)
    bad: BoolArray = np.asarray(~np.isfinite(values).all(axis=(0, 1)))
    reach = int(bad.argmax()) if bad.any() else len(bad)
    return MeasuredGold(values[..., :reach], DatasetFits(results, dataset).clusters(metric))


def sampled_drop(results: Results, dataset: str, path: MeasuredGold) -> tuple[Sample, Sample] | None:
    """Return what a path gains to its peak and loses after it, as the claims measure it; None of too few points."""
    if path.values.shape[-1] < 2 or len(np.unique(path.clusters)) < 4:
        return None
    cells = Cells(DatasetFits(results, dataset), PEAK_DRAWS)
    kl = np.arange(path.values.shape[-1], dtype=np.float64)
    curve = GoldCurves(kl, path.values[:, :, None], path.clusters, "the end")
    return cross_fitted(cells, curve, lambda found: found[0][:, 0]), drop(cells, curve)


def intervals(samples: Sequence[MeasuredGold]) -> list[Interval]:
    """Return the mean of each sample with its interval over topics and seeds; one seed alone is not resampled.

    Samples of the same prompts and seeds share their resamples: drawing them is what takes the time.
    """
    out: dict[int, Interval] = {}
    alike: dict[tuple[int, bytes], list[int]] = defaultdict(list)
    for i, sample in enumerate(samples):
        alike[sample.values.shape[1], sample.clusters.tobytes()].append(i)
    for (seeds, _), members in alike.items():
        joined = np.concatenate([samples[i].values for i in members], axis=2)
        values = joined if seeds > 1 else joined[:, 0]
        cluster = samples[members[0]].clusters
        found = bootstrap(values, seed=0, draws=DRAWS, two_way=seeds > 1, cluster=cluster)
        ends = np.cumsum([samples[i].values.shape[2] for i in members])
        for i, start, end in zip(members, [0, *ends[:-1]], ends, strict=True):
            part = slice(int(start), int(end))
            out[i] = Interval(found.estimate[part], found.low[part], found.high[part], found.n, found.level)
    return [out[i] for i in range(len(samples))]
