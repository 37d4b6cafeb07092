"""Gold along paths and among best-of-n choices, with intervals over the prompts that nothing was chosen on."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias

import numpy as np

from embrm.core.arrays import Array, BoolArray
from embrm.metrics.intervals import Interval, bootstrap
from embrm.report.study.settings import TableSetting, rounded
from embrm.study.metric import Metric
from embrm.study.results import Results, validation

Measure: TypeAlias = Literal["path", "bon"]
MEASURES: tuple[Measure, ...] = ("path", "bon")
CONTROLS = ("oracle", "length", "random")
BENT = ("over", "under")  # measured under the mean of bent scores, for a claim: no rules
DRAWS = 500  # of every bootstrap of the report: verdicts, which need more, are computed with the claims


@dataclass(frozen=True, eq=False)
class GoldCurve:
    """Gold gained over the reference policy by one head under one rule, at each KL of the path or size of the choice.

    Attributes:
        head, rule: titles; of a control the rule is "mean".
        gold: `(k,)` gain with its interval over prompts and seeds; a path ends where a seed's pool is not reliable.
        proxy: `(k,)` the rule's own gain in sd under the reference policy, mean over seeds; None where it has none.
    """

    head: str
    rule: str
    gold: Interval
    proxy: Array | None = None

    def json(self) -> dict[str, Any]:
        """Return its numbers, rounded."""
        band = {name: rounded(getattr(self.gold, name)) for name in ("estimate", "low", "high")}
        proxy = {} if self.proxy is None else {"proxy": rounded(self.proxy)}
        return {"head": self.head, "rule": self.rule, **band, **proxy}


def lines(results: Results, setting: TableSetting, measure: Measure) -> Iterator[GoldCurve]:
    """Yield a line for every head and rule that were measured in a setting."""
    found = [
        (head, rule, gold)
        for head in results.config.titles
        for rule in rules_of(results, setting, head, measure)
        if (gold := held_out(results, setting, head, Metric(measure, rule))) is not None and gold.shape[-1] > 1
    ]
    gains = intervals([gold - gold[..., :1] for _, _, gold in found])
    for (head, rule, gold), gain in zip(found, gains, strict=True):
        proxy = results.stack(Metric("proxy", rule), head=head, **asdict(setting)) if measure == "path" else None
        yield GoldCurve(head, rule, gain, None if proxy is None else np.asarray(proxy.mean(axis=1)[: gold.shape[-1]]))


def controls(results: Results, dataset: str, measure: Measure) -> Iterator[GoldCurve]:
    """Yield the lines of the oracle, of length and of a random choice on a data set, where they were measured."""
    found = {name: control(results, dataset, name, Metric(measure, "mean")) for name in CONTROLS}
    there = {name: gold - gold[..., :1] for name, gold in found.items() if gold is not None}
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


def held_out(results: Results, setting: TableSetting, head: str, metric: Metric) -> Array | None:
    """Return a head's gold `(prompts, seeds, k)` on the prompts that nothing was chosen on."""
    stack = results.stack(metric, head=head, **asdict(setting))
    return None if stack is None else _measured(stack)


def control(results: Results, dataset: str, name: str, metric: Metric) -> Array | None:
    """Return a control's gold `(prompts, 1, k)`, likewise."""
    row = next(results.select(kind="control", dataset=dataset, head=name), None)
    return None if row is None or metric not in row.arrays else _measured(row.arrays[metric][:, None])


def _measured(stack: Array) -> Array:
    """Return the held-out prompts' part, cut before the first point where any seed has no reliable number."""
    kept: Array = stack[~validation(len(stack))].astype(np.float64)
    bad: BoolArray = np.asarray(~np.isfinite(kept).all(axis=(0, 1)))
    return kept[..., : int(bad.argmax()) if bad.any() else len(bad)]


def intervals(samples: Sequence[Array]) -> list[Interval]:
    """Return the mean of each `(prompts, seeds, k)` with its interval; one seed alone is not resampled.

    Samples of as many prompts and seeds share their resamples: drawing them is what takes the time.
    """
    out: dict[int, Interval] = {}
    alike: dict[tuple[int, ...], list[int]] = defaultdict(list)
    for i, values in enumerate(samples):
        alike[values.shape[:2]].append(i)
    for (_, seeds), members in alike.items():
        joined = np.concatenate([samples[i] for i in members], axis=2)
        if seeds > 1:
            found = bootstrap(joined, seed=0, draws=DRAWS, two_way=True)
        else:
            found = bootstrap(joined[:, 0], seed=0, draws=DRAWS)
        ends = np.cumsum([samples[i].shape[2] for i in members])
        for i, start, end in zip(members, [0, *ends[:-1]], ends, strict=True):
            part = slice(int(start), int(end))
            out[i] = Interval(found.estimate[part], found.low[part], found.high[part], found.n, found.level)
    return [out[i] for i in range(len(samples))]
