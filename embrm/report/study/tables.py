"""The report's tables: what heads are worth, how sure they are, what they cost, and how they were tuned."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Any, TypeAlias

import numpy as np

from embrm.core.arrays import Array
from embrm.report.study.curves import CONTROLS, MeasuredGold, control, intervals, main_rule, measured, sampled_drop
from embrm.report.study.settings import TableSetting, count, mean, number, share, with_interval
from embrm.study.claims import DatasetFits, Sample
from embrm.study.metric import Metric
from embrm.study.results import Results, Row

_Cell: TypeAlias = str | tuple[MeasuredGold, int]  # a text, or a sample of one number and the digits of its mean


@dataclass(frozen=True)
class Table:
    """A table of texts; the first cell of each row is its name.

    Attributes:
        caption: what it shows, for readers who cannot see where it stands.
        headings: one a column.
        rows: as many cells each.
        note: said below it.
    """

    caption: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""


def heads_table(results: Results, setting: TableSetting) -> Table:
    """Return accuracy, best of n, peak and drop of every head, of the controls, and of the tuned linear baseline."""
    splits = _splits(results, setting.dataset)
    largest = max(results.sizes(setting.dataset), default=1)
    headings = [
        "head",
        *(f"accuracy, {split}" for split in splits),
        f"gold, best of {largest}",
        "gold gain at its peak",
        "lost after it",
        "seconds per fit",
    ]
    rows = [_head(results, setting, head, splits) for head in _shown(results)]
    rows += [_control(results, setting.dataset, name, splits) for name in CONTROLS]
    rules = {main_rule(results, setting, head) for head in results.config.titles} - {"mean", None}
    note = f" Heads without a mean are measured under {', '.join(sorted(map(str, rules)))}." if rules else ""
    return Table(f"Heads on {setting}", headings, _written([row for row in rows if row]), note)


def _shown(results: Results) -> list[str]:
    """Return the heads' titles; a study without a tuned linear baseline gets a row that says so."""
    heads = results.config.heads
    baseline = any(head.name == "linear" and head.tuned for head in heads)
    return [*(head.title for head in heads), *([] if baseline else ["linear, tuned"])]


def _splits(results: Results, dataset: str) -> list[str]:
    metrics = {metric for row in results.rows if row.cell.dataset == dataset for metric in row.arrays}
    order = ("in", "topics", "counts")
    found = [metric.name for metric in metrics if metric.family == "accuracy"]
    return sorted(found, key=lambda split: (order.index(split) if split in order else len(order), split))


def _head(results: Results, setting: TableSetting, head: str, splits: Sequence[str]) -> list[_Cell]:
    fits = list(results.select(kind="fit", head=head, **asdict(setting)))
    baseline = any(h.title == head and h.name == "linear" and h.tuned for h in results.config.heads)
    if not fits:
        absent = baseline or head not in results.config.titles
        return [head, *["not run"] * len(splits), "not run", "", "", ""] if absent else []
    rule = main_rule(results, setting, head)
    accuracy = [
        _accuracy(results, setting.dataset, split, results.stack(split, head=head, **asdict(setting)))
        for split in (Metric("accuracy", name) for name in splits)
    ]
    best, path = (
        None if rule is None else measured(results, setting, head, Metric(family, rule)) for family in ("bon", "path")
    )
    seconds = number(mean(row.seconds["fit"] for row in fits if "fit" in row.seconds))
    name = f"{head} (tuned baseline)" if baseline else head
    return [name, *accuracy, _last(best), *_peak(results, setting.dataset, path), seconds]


def _control(results: Results, dataset: str, name: str, splits: Sequence[str]) -> list[_Cell]:
    row = next(results.select(kind="control", dataset=dataset, head=name), None)
    if row is None:
        return [name, *["not run"] * (len(splits) + 1), "", "", ""]
    accuracy = [
        _accuracy(results, dataset, split, None if (values := row.arrays.get(split)) is None else values[:, None])
        for split in (Metric("accuracy", name) for name in splits)
    ]
    best, path = (control(results, dataset, name, Metric(family, "mean")) for family in ("bon", "path"))
    return [name, *accuracy, _last(best), *_peak(results, dataset, path), ""]


def _accuracy(results: Results, dataset: str, split: Metric, values: Array | None) -> _Cell:
    """Return the sample of `(prompts, seeds)`; prompts without a pair are NaN and left out."""
    if values is None:
        return ""
    kept = np.isfinite(values).all(axis=1)
    clusters = DatasetFits(results, dataset).clusters(split)[kept]
    return (MeasuredGold(values[kept][:, :, None], clusters), 3) if len(np.unique(clusters)) > 1 else ""


def _last(best: MeasuredGold | None) -> _Cell:
    if best is None or not best.values.shape[-1]:
        return ""
    return MeasuredGold(best.values[..., -1:], best.clusters), 2


def _peak(results: Results, dataset: str, path: MeasuredGold | None) -> list[str]:
    """Return gain at the peak and drop, as the claims measure them."""
    found = None if path is None else sampled_drop(results, dataset, path)
    return ["", ""] if found is None else [_sample(sample) for sample in found]


def _sample(sample: Sample) -> str:
    low, high = sample.interval
    return f"{number(sample.estimate)} [{number(low)}, {number(high)}]"


def _written(rows: Sequence[Sequence[_Cell]]) -> list[list[str]]:
    """Return the rows with every sample's mean and interval in its place."""
    found = iter(intervals([cell[0] for row in rows for cell in row if not isinstance(cell, str)]))
    return [[c if isinstance(c, str) else with_interval(next(found)[0], c[1]) for c in row] for row in rows]


def calibration_table(results: Results, setting: TableSetting) -> Table:
    """Return each head's scores as a probability, mean over its seeds."""
    names = {
        "nll": "negative log-likelihood",
        "ece": "calibration error",
        "brier": "Brier score",
        "temperature": "best temperature",
    }
    rows = []
    for head in results.config.titles:
        fits = list(results.select(kind="fit", head=head, **asdict(setting)))
        if any(name in row.numbers for row in fits for name in names):
            means = (mean(row.numbers[name] for row in fits if name in row.numbers) for name in names)
            rows.append([head, *(number(value, 3) for value in means)])
    return Table(f"Calibration on {setting}", ["head", *names.values()], rows)


def reliability(results: Results, setting: TableSetting) -> dict[str, Array]:
    """Return each head's `(3, bins)` confidence, accuracy and weight, the seeds' bins pooled by their weights."""
    found = {}
    for head in results.config.titles:
        stack = results.stack(Metric("reliability"), head=head, **asdict(setting))
        if stack is not None:  # (3, seeds, bins)
            weight = stack[2]
            total = weight.sum(axis=0)
            pooled = np.nansum(stack[:2] * weight, axis=1)
            found[head] = np.stack(
                [*np.divide(pooled, total, out=np.full_like(pooled, np.nan), where=total > 0), total]
            )
    return found


def cost_table(results: Results) -> Table:
    """Return what every head's fits took, over the whole study."""
    rows = [_cost(head, list(results.select(kind="fit", head=head))) for head in results.config.titles]
    rows.append(_cost("all heads", list(results.select(kind="fit"))))
    for kind, name in (("tuning", "tuning"), ("rl", "reinforcement learning")):
        found = list(results.select(kind=kind))
        if found:
            seconds = sum(sum(row.seconds.values()) for row in found)
            rows.append([name, *[""] * 5, number(seconds, 1)])
    headings = ["head", "fits", "members trained", "seconds fitting", "seconds per fit", "fits per second", "seconds"]
    return Table(
        "Cost of every head", headings, rows, "The last column counts scoring, exact curves and detectors as well."
    )


def _cost(name: str, fits: Sequence[Row]) -> list[str]:
    seconds = sum(row.seconds.get("fit", 0.0) for row in fits)
    each = [number(seconds / len(fits), 3), number(len(fits) / seconds, 1)] if seconds else ["", ""]
    members = sum(row.numbers.get("members", 1.0) for row in fits)
    total = sum(sum(row.seconds.values()) for row in fits)
    return [name, count(len(fits)), count(members), number(seconds, 1), *each, number(total, 1)]


def tuning_table(results: Results) -> Table:
    """Return what was chosen for every head, and among how many recipes."""
    rows = [
        [
            row.cell.head,
            row.cell.dataset,
            row.cell.mechanism,
            share(row.cell.flips),
            str(len(row.notes["trials"])),
            _chosen(row.notes["trials"], row.notes.get("edges", ())),
        ]
        for row in results.select(kind="tuning")
    ]
    headings = ["head", "data set", "mechanism", "label noise", "recipes tried", "chosen"]
    return Table(
        "Tuning", headings, rows, "An option marked with † lies at an end of its space, so a better one may lie beyond."
    )


def _chosen(trials: Sequence[dict[str, Any]], edges: Collection[str]) -> str:
    """Return what the trial of the least negative log-likelihood changed, with a mark at what lies at an end."""
    best = min((t for t in trials if t["nll"] is not None), key=lambda t: float(t["nll"]), default=None)
    if best is None:
        return "every recipe failed"
    found = [f"{key} = {_value(value)}{'†' * (key in edges)}" for key, value in best["options"].items()]
    return ", ".join(found) or "as it is"


def _value(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else value if isinstance(value, str) else json.dumps(value)
