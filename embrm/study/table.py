"""A study's rows as long tables, one line a cell and metric, for any other program."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embrm.core.arrays import Array
from embrm.core.files import write_bytes
from embrm.study.metric import BINNED, FAMILIES, SD_AND_KL, Metric
from embrm.study.results import Cell, Results, Row

if TYPE_CHECKING:
    from embrm.study.config import StudyConfig

CELL = [field.name for field in dataclasses.fields(Cell)]
APART = ("cloud", "latent", "sizes", "clusters")  # points of a figure, places of best-of-n, numbers of clusters


def write_tables(results: Results, folder: Path) -> None:
    """Write `results.parquet`, the same whenever the same is measured, and `timings.parquet`."""
    measured = [(row.cell, *line) for row in results.rows for line in metrics(results.config, row)]
    _write(folder / "results.parquet", measured, ["metric", "place", "value"])
    taken = [(row.cell, what, seconds) for row in results.rows for what, seconds in sorted(row.seconds.items())]
    _write(folder / "timings.parquet", taken, ["what", "seconds"])


def metrics(config: StudyConfig, row: Row) -> Iterator[tuple[str, str, float]]:
    """Yield metric, place and value; the value is the mean over prompts where a metric is measured on each.

    A place is the number n of a best-of-n, nats along a path, or a number counted from 0, such as a step.
    """
    for name, value in sorted(row.numbers.items()):
        yield name, "", float(value)
    for metric, array in sorted(row.arrays.items(), key=lambda item: str(item[0])):
        if metric.family not in APART:
            yield from _lines(config, row, metric, np.asarray(array, dtype=np.float64))


def _lines(config: StudyConfig, row: Row, metric: Metric, array: Array) -> Iterator[tuple[str, str, float]]:
    *outer, axis = FAMILIES[metric.family].axes
    if outer == ["part"]:
        for part, values in zip(BINNED, array, strict=True):
            yield from _placed(replace(metric, name=part), range(len(values)), values)
    elif axis == "prompt":
        seen = array[~np.isnan(array)]  # no hacked text of a prompt, no AUROC
        yield str(metric), "", float(seen.mean()) if seen.size else float("nan")
    else:
        values = array.mean(axis=0) if outer == ["prompt"] else array
        yield from _placed(metric, _places(config, row, axis, len(values)), values)


def _places(config: StudyConfig, row: Row, axis: str, n: int) -> Sequence[object]:
    if axis == "size":
        return [f"{size:g}" for size in row.arrays[Metric("sizes")]]
    if axis == "kl":
        return [f"{kl:.4g}" for kl in np.linspace(0, config.kl_end, config.kl_points)]
    return SD_AND_KL if axis == "sd and kl" else range(n)


def _placed(metric: Metric, places: Sequence[object], values: Array) -> Iterator[tuple[str, str, float]]:
    for place, value in zip(places, values.tolist(), strict=True):
        yield str(metric), str(place), value


def _write(path: Path, lines: Sequence[tuple[Any, ...]], columns: Sequence[str]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columned: dict[str, list[Any]] = {name: [getattr(line[0], name) for line in lines] for name in CELL}
    columned |= {name: [line[1 + i] for line in lines] for i, name in enumerate(columns)}
    stored = io.BytesIO()
    pq.write_table(pa.table(columned), stored)
    write_bytes(path, stored.getvalue(), follow=False)
