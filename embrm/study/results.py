"""What a study has measured: one row a fitted model, on disk as soon as it is there."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import re
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from embrm.core.arrays import Array, BoolArray
from embrm.core.files import write_bytes
from embrm.errors import DataError
from embrm.study.config import StudyConfig, parse
from embrm.study.metric import FAMILIES, Metric

SIZES = Metric("sizes")
NAME = re.compile("[0-9a-f]{24}")  # of a row's file, without .npz: its key
AGAIN = "run the study again: the rows are kept"
SCHEMA = 2  # of rows on disk; a folder of another one is refused
Labelling: TypeAlias = tuple[str, float]  # mechanism and flips
CellKind: TypeAlias = Literal["fit", "control", "tuning", "experiment", "rl"]


@dataclass(frozen=True, order=True)
class Cell:
    """What one row is about.

    Attributes:
        kind: "fit" (a trained head, measured), "control" (oracle, length or random), "tuning", "experiment", "rl" (a
            training run).
        dataset, head: their titles; of an experiment `head` is the experiment's.
        pairs, mechanism, flips, seed: of the training pairs; the mechanism by its title in the configuration.
        rule: of a training run whose reward is not the mean of the head's draws, the title of the rule that values it.
    """

    kind: CellKind
    dataset: str
    head: str
    pairs: int = 0
    mechanism: str = ""
    flips: float = 0.0
    seed: int = 0
    rule: str = ""

    @property
    def known(self) -> Mapping[str, Any]:
        """What it is about, JSON-ready, without a rule where there is none: as in rows that were written before any."""
        return {name: value for name, value in asdict(self).items() if value or name != "rule"}

    @property
    def labelling(self) -> Labelling:
        """How its training pairs came to be, for which options are chosen alike."""
        return self.mechanism, self.flips

    def __str__(self) -> str:
        if self.kind == "control":
            return f"{self.dataset}: {self.head}"
        return (
            f"{self.dataset}: {self.kind} of {self.head}, {self.pairs} pairs, {self.mechanism}, "
            f"flips {self.flips:g}, seed {self.seed}{', by ' * bool(self.rule)}{self.rule}"
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
        """Write the row, whole or not at all, as `<key>.npz`; a link there is replaced."""
        meta = {name: getattr(self, name) for name in ("key", "numbers", "notes", "seconds")}
        stored = io.BytesIO()
        meta |= {"schema": SCHEMA, "cell": self.cell.known, "digest": self.digest().hex()}
        text = json.dumps(meta, sort_keys=True)
        arrays: dict[str, Any] = {"": np.frombuffer(text.encode(), dtype=np.uint8)}
        arrays |= {str(metric): values for metric, values in self.arrays.items()}
        np.savez(stored, **arrays)
        write_bytes(folder / f"{self.key}.npz", stored.getvalue(), follow=False)

    @classmethod
    def load(cls, path: Path) -> Row:
        """Read a row.

        Raises:
            DataError: the file is damaged, or of another schema version.
        """
        try:
            if not path.is_file():  # a folder, a device or a queue would be opened too
                raise DataError(f"{path} is no file; remove it and run the study again")
            with zipfile.ZipFile(path) as whole:
                if any(part.compress_type != zipfile.ZIP_STORED for part in whole.infolist()):  # as `save` never writes
                    raise DataError(f"{path} is damaged (it is packed); remove it and {AGAIN}")
            with path.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
                arrays = {Metric.parse(name): stored[name] for name in stored.files if name}
                meta = json.loads(stored[""].tobytes())
            if meta.pop("schema") != SCHEMA:
                raise DataError(f"{path} was written by another version of embrm; give another folder")
            cell, digest = Cell(**meta.pop("cell")), meta.pop("digest")
            row = cls(cell, arrays=arrays, **meta)
            if row.digest().hex() != digest:
                raise DataError(f"{path} is damaged (it holds other numbers than were written); remove it and {AGAIN}")
            if fault := row._fault(path.stem):
                raise DataError(f"{path} is damaged ({fault}); remove it and run the study again")
        except DataError:
            raise
        except Exception as error:  # what zip, NumPy and JSON raise of damaged bytes is of a dozen kinds
            raise DataError(f"{path} is damaged ({error}); remove it and run the study again") from None
        return row

    def _fault(self, name: str) -> str:
        """Say why this cannot be what a file of that name holds; an empty text where it can."""
        if self.key != name:
            return f"it holds the row {self.key} under the name of another"
        for part in dataclasses.fields(Cell):
            kind = type("" if part.default is dataclasses.MISSING else part.default).__name__
            if type(getattr(self.cell, part.name)).__name__ not in ({"int", "float"} if kind == "float" else {kind}):
                return f"its cell's {part.name} is {getattr(self.cell, part.name)!r}"
        for metric, values in self.arrays.items():
            if values.dtype.kind not in "fiub" or values.ndim != len(FAMILIES[metric.family].axes):
                return f"'{metric}' is of {values.dtype} and shape {values.shape}"
        for what in ("numbers", "seconds"):
            if not all(isinstance(value, int | float) for value in getattr(self, what).values()):
                return f"'{what}' holds what is no number"
        return ""

    def digest(self) -> bytes:
        """Return a hash of all that the row holds."""
        told = [self.cell.known, self.key, dict(self.numbers), dict(self.notes), dict(self.seconds)]
        plain = json.loads(json.dumps(told))  # as it comes back
        found = hashlib.sha256(json.dumps(plain, sort_keys=True).encode())
        for metric, values in sorted(self.arrays.items(), key=lambda item: str(item[0])):
            found.update(f"{metric} {values.dtype.str} {values.shape}".encode())
            found.update(np.ascontiguousarray(values).tobytes())
        return found.digest()


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

    @property
    def digest(self) -> str:
        """Hash of all that a report or a verdict is made from; those that carry it were made from these results."""
        told = [self.config.model_dump(mode="json"), dict(self.failures), dict(self.environment)]
        found = hashlib.sha256(json.dumps(told, sort_keys=True).encode())
        for row in sorted(self.rows, key=lambda row: row.cell):
            found.update(row.digest())
        return found.hexdigest()[:24]

    @classmethod
    def load(cls, folder: Path, *, damaged: dict[str, DataError] | None = None) -> Results:
        """Read a run's folder, finished or not.

        Args:
            folder: of the run.
            damaged: gets what is wrong with rows that cannot be read, by their keys; they are left out. None raises it.

        Raises:
            DataError: it is not one, or of another schema version, or a row is damaged or not the one that its file is
                named after.
        """
        path = folder / "config.json"
        if not path.is_file():
            raise DataError(f"{folder} holds no study (no config.json); give the folder that `embrm study -o` named")
        try:
            stored = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, TypeError, ValueError, RecursionError) as error:
            raise DataError(f"{path} is damaged ({error}); remove it and {AGAIN}") from None
        if stored.get("schema") != SCHEMA:
            raise DataError(
                f"{folder} was written by another version of embrm (schema {stored.get('schema')}, this one has "
                f"{SCHEMA}); run the study into another folder"
            )
        rows = []
        try:
            config, keys = parse(stored["config"], where=str(path)), [str(key) for key in stored["keys"]]
            failures = {str(cell): str(why) for cell, why in stored["failures"].items()}
            environment = dict(stored["environment"])
            sound = all(map(NAME.fullmatch, keys)) and environment.keys() >= {"seconds", "started", "finished"}
            environment["seconds"] = float(environment["seconds"])
        except (AttributeError, KeyError, TypeError, ValueError) as error:  # those of `parse` are ValueErrors too
            raise DataError(f"{path} is damaged ({error}); remove it and {AGAIN}") from None
        if not sound:
            raise DataError(f"{path} is damaged (no keys, or no times); remove it and {AGAIN}")
        for key in keys:
            path = folder / "cells" / f"{key}.npz"
            try:
                rows += [Row.load(path)] if os.path.lexists(path) else []
            except DataError as error:
                if damaged is None:
                    raise
                damaged[key] = error
        return cls(config, sorted(rows, key=lambda row: row.cell), failures, folder, environment)
