"""What a study has measured: one row a fitted model, on disk as soon as it is there."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from embrm.core.arrays import Array, BoolArray
from embrm.core.files import write_bytes
from embrm.errors import DataError
from embrm.study.config import StudyConfig, parse
from embrm.study.metric import Metric

SIZES = Metric("sizes")
SCHEMA = 2  # of rows on disk; a folder of another one is refused
Labelling: TypeAlias = tuple[str, float]  # mechanism and flips
CellKind: TypeAlias = Literal["fit", "control", "tuning", "rl"]


@dataclass(frozen=True, order=True)
class Cell:
    """What one row is about.

    Attributes:
        kind: "fit" (a trained head, measured), "control" (oracle, length or random), "tuning", "rl" (a training run).
        dataset, head: their titles.
        pairs, mechanism, flips, seed: of the training pairs; the mechanism by its title in the configuration.
    """

    kind: CellKind
    dataset: str
    head: str
    pairs: int = 0
    mechanism: str = ""
    flips: float = 0.0
    seed: int = 0

    @property
    def labelling(self) -> Labelling:
        """How its training pairs came to be, for which options are chosen alike."""
        return self.mechanism, self.flips

    def __str__(self) -> str:
        if self.kind == "control":
            return f"{self.dataset}: {self.head}"
        return (
            f"{self.dataset}: {self.kind} of {self.head}, {self.pairs} pairs, {self.mechanism}, "
            f"flips {self.flips:g}, seed {self.seed}"
        )


@dataclass(frozen=True, eq=False)
class Row:
    """What was measured of one cell; which rows hold what, see `embrm.study.measures.fit`.

    Attributes:
        cell: what it is about.
        key: hash of all that produced it.
        numbers: name → a number.
        arrays: what it is → an array, see `embrm.study.metric.FAMILIES`.
        notes: name → JSON-ready values, such as the options that tuning chose.
        seconds: name → processor time taken, "fit" and "measure"; the only part that differs between two runs.
    """

    cell: Cell
    key: str
    numbers: Mapping[str, float] = field(default_factory=dict)
    arrays: Mapping[Metric, Array] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)

    def save(self, folder: Path) -> None:
        """Write the row, whole or not at all, as `<key>.npz`."""
        meta = {name: getattr(self, name) for name in ("key", "numbers", "notes", "seconds")}
        stored = io.BytesIO()
        text = json.dumps(meta | {"schema": SCHEMA, "cell": asdict(self.cell)}, sort_keys=True)
        arrays: dict[str, Any] = {"": np.frombuffer(text.encode(), dtype=np.uint8)}
        arrays |= {str(metric): values for metric, values in self.arrays.items()}
        np.savez(stored, **arrays)
        write_bytes(folder / f"{self.key}.npz", stored.getvalue())

    @classmethod
    def load(cls, path: Path) -> Row:
        """Read a row.

        Raises:
            DataError: the file is damaged, or of another schema version.
        """
        try:
            with np.load(path) as stored:
                arrays = {Metric.parse(name): stored[name] for name in stored.files if name}
                meta = json.loads(stored[""].tobytes())
        except (OSError, ValueError, KeyError) as error:
            raise DataError(f"{path} is damaged ({error}); remove it and run the study again") from None
        if meta.pop("schema") != SCHEMA:
            raise DataError(f"{path} was written by another version of embrm; give another folder")
        return cls(Cell(**meta.pop("cell")), arrays=arrays, **meta)


def key_of(*parts: Any) -> str:
    """Return the hash that names a row: of JSON-ready values."""
    text = json.dumps([SCHEMA, *parts], sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def validation(prompts: int) -> BoolArray:
    """Return which of a data set's prompts parameters are chosen on, every third; claims are measured on the others."""
    return np.asarray(np.arange(prompts) % 3 == 0)


@dataclass(frozen=True, eq=False)
class Results:
    """All rows of a study.

    Attributes:
        config: what was asked for.
        rows: in the order of their cells.
        failures: cell → why it failed.
        folder: where trajectories lie, or None.
        environment: versions, processor, workers, seconds of the whole run.
    """

    config: StudyConfig
    rows: Sequence[Row]
    failures: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)

    def select(self, **wanted: Any) -> Iterator[Row]:
        """Yield the rows whose cells have the given fields, such as `kind="fit", head="mlp", flips=0.25`."""
        for row in self.rows:
            if all(getattr(row.cell, name) == value for name, value in wanted.items()):
                yield row

    def sizes(self, dataset: str) -> list[int]:
        """Return the n of a data set's best-of-n, which end with its smallest pool; none where there is no gold."""
        found = (row.arrays[SIZES] for row in self.select(dataset=dataset) if SIZES in row.arrays)
        return [int(n) for n in next(found, ())]

    def stack(self, metric: Metric, **wanted: Any) -> Array | None:
        """Return an array of the fits' rows, seeds on the second axis: `(prompts, seeds, ...)`; None without any.

        Args:
            metric: such as `Metric("bon", "mean")`.
            wanted: fields of the cell other than the seed; they must leave one row a seed.

        Raises:
            DataError: they leave several rows a seed.
        """
        rows = sorted(self.select(**{"kind": "fit"} | wanted), key=lambda row: row.cell.seed)
        found = [row.arrays[metric] for row in rows if metric in row.arrays]
        seeds = [row.cell.seed for row in rows if metric in row.arrays]
        if len(seeds) != len(set(seeds)):
            raise DataError(f"several rows a seed have '{metric}' under {wanted}; name more of the cell's fields")
        return np.stack(found, axis=1) if found else None

    @classmethod
    def load(cls, folder: Path) -> Results:
        """Read a run's folder, finished or not.

        Raises:
            DataError: it is not one, or of another schema version.
        """
        path = folder / "config.json"
        if not path.is_file():
            raise DataError(f"{folder} holds no study (no config.json); give the folder that `embrm study -o` named")
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
        except ValueError as error:
            raise DataError(f"{path} is damaged ({error}); run the study into another folder") from None
        if stored.get("schema") != SCHEMA:
            raise DataError(
                f"{folder} was written by another version of embrm (schema {stored.get('schema')}, this one has "
                f"{SCHEMA}); run the study into another folder"
            )
        keys = stored.get("keys", [])
        rows = [Row.load(folder / "cells" / f"{key}.npz") for key in keys if (folder / "cells" / f"{key}.npz").exists()]
        return cls(
            parse(stored["config"]),
            sorted(rows, key=lambda row: row.cell),
            stored.get("failures", {}),
            folder,
            stored.get("environment", {}),
        )
