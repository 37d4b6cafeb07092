"""How long a study will take, by what its parts took before."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from embrm.heads import Head
from embrm.study.config import StudyConfig
from embrm.study.experiments import Experiment
from embrm.study.results import Cell
from embrm.study.runner.plan import CellBatch

TABLE = Path(__file__).with_suffix(".yaml")
SPLITS = 2  # of the pairs, each fitted once for each trial of tuning


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
