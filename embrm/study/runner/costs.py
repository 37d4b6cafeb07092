"""How long a study will take, by what its parts took before."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from embrm.heads import Head
from embrm.study.config import StudyConfig
from embrm.study.experiments import Experiment
from embrm.study.results import Cell, CellKind, Row
from embrm.study.runner.plan import PHASES, CellBatch

TABLE = Path(__file__).with_suffix(".yaml")
SPLITS = 2  # of the pairs, each fitted once for each trial of tuning
BELIEF = 10.0  # core-seconds that must have been taken before what is seen counts as much as what was foretold


@dataclass(frozen=True)
class Costs:
    """Core-seconds of cells: as measured in the folder of the run, else by the table that is shipped.

    Attributes:
        config: the study.
        seen: (kind, data set, head, pairs) → mean core-seconds of such a cell.
    """

    config: StudyConfig
    seen: Mapping[tuple[str, str, str, int], float]

    @classmethod
    def of(cls, config: StudyConfig, folder: Path) -> Costs:
        """Read the timings of a folder, if it has any."""
        path = folder / "timings.parquet"
        if not path.is_file():
            return cls(config, {})
        import pyarrow as pa
        import pyarrow.parquet as pq

        cells = ["kind", "dataset", "head", "pairs"]
        try:
            table = pq.read_table(path)
            whole = table.group_by([*cells, "mechanism", "flips", "seed"]).aggregate([("seconds", "sum")])
            mean = whole.group_by(cells).aggregate([("seconds_sum", "mean")]).to_pylist()
            return cls(config, {tuple(row[name] for name in cells): float(row["seconds_sum_mean"]) for row in mean})
        except (pa.ArrowException, OSError, TypeError, ValueError):  # damaged: it only foretells
            return cls(config, {})

    def seconds(self, batch: CellBatch) -> float:
        """Return the core-seconds that a batch will take."""
        return sum(self.cell(cell, batch) for cell in batch.cells)

    def cell(self, cell: Cell, batch: CellBatch) -> float:
        """Return the core-seconds that a cell will take."""
        measured = self.seen.get((cell.kind, cell.dataset, cell.head, cell.pairs))
        if measured is not None:
            return measured
        table, head = _table(), batch.head
        if batch.experiment is not None:
            asked = batch.experiment
            return Experiment.of({"name": asked.name, "options": asked.options}).core_seconds
        if head is None:
            return float(table["control"])
        fit = _fit(Head.of({"name": head.name, "options": head.options}), cell.pairs)
        if cell.kind == "tuning":
            return SPLITS * self.config.tuning.budget * fit
        if cell.kind == "rl":
            return fit + float(table["step"]) * (self.config.rl.steps if self.config.rl else 0)
        rules = len(self.config.rules_of(head))
        looked = self.config.detection.watches(head.title, pairs=cell.pairs, mechanism=cell.mechanism, flips=cell.flips)
        watched = len(self.config.detection.detectors) * self.config.detection.points if looked else 0
        return fit + float(table["measure"]) + rules * float(table["rule"]) + watched * float(table["detector"])


class Remaining:
    """How long a run will go on: what is foretold of the cells that are left, as cells of their kind have taken so far.

    Args:
        costs: what foretells.
        missing: batches that are to be computed.
        workers: processes.
    """

    def __init__(self, costs: Costs, missing: Sequence[CellBatch], *, workers: int) -> None:
        self._left = {id(batch): (batch.kind, costs.seconds(batch)) for batch in missing}
        self._workers = workers
        self._foretold: defaultdict[CellKind, float] = defaultdict(float)
        self._taken: defaultdict[CellKind, float] = defaultdict(float)
        self._first: tuple[float, float] | None = None  # when the first batch was done, and what it had taken

    def finish(self, batch: CellBatch, rows: Iterable[Row]) -> None:
        """Take in what the rows of a batch have taken."""
        kind, foretold = self._left.pop(id(batch))
        self._foretold[kind] += foretold
        self._taken[kind] += sum(sum(row.seconds.values()) for row in rows)
        self._first = self._first or (time.monotonic(), self._taken[kind])

    def seconds(self) -> float:
        """Return the seconds that are left by the clock, phase after phase."""
        pace = 1.0  # seconds of the clock for one of a processor; the start of the workers does not count
        if self._first is not None:
            begin, taken = self._first
            pace = ((time.monotonic() - begin) * self._workers + BELIEF) / (sum(self._taken.values()) - taken + BELIEF)
        total = 0.0
        for phase in PHASES:
            batches = [self._scale(kind) * foretold for kind, foretold in self._left.values() if kind in phase]
            total += max(sum(batches) / self._workers, *batches, 0.0)
        return pace * total

    def _scale(self, kind: CellKind) -> float:
        return (self._taken[kind] + BELIEF) / (self._foretold[kind] + BELIEF)


def _fit(recipe: Head, pairs: int) -> float:
    """Return the core-seconds of one fit; members and wrapped heads cost as much as they are many."""
    name = recipe.config()["name"]
    costs: Mapping[str, list[float]] = _table()["fit"]
    members = getattr(recipe, "members", 1)
    if name not in costs and isinstance(base := getattr(recipe, "base", None), Head):
        return float(members) * _fit(base, pairs)
    start, thousand = costs.get(name, costs["mlp"])
    return (start + thousand * pairs / 1000) * members / getattr(type(recipe), "members", 1)


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = yaml.safe_load(TABLE.read_text(encoding="utf-8"))
    return table
