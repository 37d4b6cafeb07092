"""The settings that training pairs were made under, and how numbers are written."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from embrm.metrics.intervals import Interval
from embrm.study.results import Cell, Results


@dataclass(frozen=True)
class TableSetting:
    """What the rows of one table have in common: the fields of their cells."""

    dataset: str
    pairs: int
    mechanism: str
    flips: float

    @classmethod
    def of(cls, cell: Cell) -> TableSetting:
        """Return the setting of a cell."""
        return cls(cell.dataset, cell.pairs, cell.mechanism, cell.flips)

    def __str__(self) -> str:
        return f"{self.dataset}, {count(self.pairs)} pairs, {self.mechanism}, {share(self.flips)} label noise"


def settings(results: Results) -> list[TableSetting]:
    """Return the settings that any head was fitted under, data sets in the order of the configuration."""
    order = {data.name: i for i, data in enumerate(results.config.datasets)}
    found = {TableSetting.of(row.cell) for row in results.select(kind="fit")}
    place = {title: i for i, title in enumerate(results.config.mechanisms)}
    return sorted(found, key=lambda s: (order.get(s.dataset, len(order)), s.pairs, place.get(s.mechanism, 0), s.flips))


def within(results: Results, setting: TableSetting) -> Results:
    """Return the part of a study that tables and curves of one setting read: its fits, and its data set's controls."""
    rows = [
        row
        for row in results.select(dataset=setting.dataset)
        if row.cell.kind == "control" or (row.cell.kind == "fit" and TableSetting.of(row.cell) == setting)
    ]
    return replace(results, rows=rows)


def hardest(among: Sequence[TableSetting], dataset: str) -> TableSetting:
    """Return a data set's setting of biased annotators, where it has any, with the most flips, then pairs."""
    return max((s for s in among if s.dataset == dataset), key=lambda s: (s.mechanism == "biased", s.flips, s.pairs))


def number(value: float | None, digits: int = 2) -> str:
    """Return a number as tables write it; an empty text where there is none."""
    if value is None or math.isnan(value):
        return ""
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:.{digits}f}"
    return text.replace("-", "−") if float(text) else text.removeprefix("-")


def count(value: float) -> str:
    """Return a whole number with thin spaces between thousands."""
    return f"{int(value):,}".replace(",", "\u202f")


def share(value: float) -> str:
    """Return a share as a whole percentage."""
    return "" if math.isnan(value) else f"{value * 100:.0f}\u202f%"


def with_interval(x: Interval | None, digits: int = 2) -> str:
    """Return an estimate and its interval as tables write them."""
    if x is None:
        return ""
    low, high = number(float(x.low), digits), number(float(x.high), digits)
    return f"{number(float(x.estimate), digits)} [{low}, {high}]"


def rounded(values: npt.ArrayLike, digits: int = 3) -> Any:
    """Return nested lists of rounded numbers, None where there is none, as JSON wants them."""
    found = np.asarray(np.round(np.asarray(values, dtype=np.float64), digits) + 0.0)  # no -0.0
    plain = found.astype(object)
    plain[~np.isfinite(found)] = None
    return plain.tolist()


def mean(values: Iterable[float]) -> float:
    """Return the mean, NaN of nothing."""
    found = list(values)
    return sum(found) / len(found) if found else math.nan
