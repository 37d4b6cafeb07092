"""The data that come with the project: texts, and their vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from embrm.core.arrays import Array
from embrm.core.data import Features
from embrm.core.data_folder import data_folder
from embrm.core.documents import open_file, translated
from embrm.core.files import read_rows
from embrm.core.provenance import UNKNOWN
from embrm.data.encode import VIEWS
from embrm.embedders import Embedder, provenance_of
from embrm.errors import DataError, UnknownNameError
from embrm.world.layout import Layout
from embrm.world.world import Responses, World
from embrm.world.world_sample import SPLITS, WorldSample

EMBEDDERS: Mapping[str, Mapping[str, Any]] = {  # name → options; whether bfloat16 would round alike need not be tried
    "minilm": {"precision": "float32"},
    "hashing": {},
}
QUICK = ("static",)  # make the vectors of all shipped texts on the spot, and find them in the cache later


def _vectors(path: Path) -> dict[str, Array]:
    with open_file(path) as file, np.load(file, allow_pickle=False) as stored:
        return {name: stored[name].astype(np.float32) * np.float32(stored["step"]) for name in SPLITS}


def read_responses(path: Path, world: World) -> Responses:
    """Read the texts of one split, one JSON object a line: topic, wording, counts, prompt, response.

    Raises:
        DataError: the file is absent or damaged, or names a topic that the world does not have.
    """
    if not path.exists():
        raise DataError(f"no {path.name} in {path.parent}; make it with `embrm data build`")
    rows = read_rows(path).values
    damaged = "is not what `embrm data build` writes; make it again"
    return translated(lambda: _responses(path, rows, world), name=str(path), why=damaged)


def _responses(path: Path, rows: Sequence[dict[str, Any]], world: World) -> Responses:
    number = {name: i for i, name in enumerate(world.topics)}
    unknown = sorted({row["topic"] for row in rows} - set(number))
    if unknown:
        raise DataError(f"{path} has topics that the world lacks: {', '.join(unknown[:3])}; run `embrm data build`")
    return Responses(
        np.array([number[row["topic"]] for row in rows]),
        np.array([row["wording"] for row in rows]),
        np.array([row["counts"] for row in rows]),
        [row["prompt"] for row in rows],
        [row["response"] for row in rows],
    )


def load(embedder: str = "minilm", *, folder: Path | None = None) -> Shipped:
    """Open the shipped data with the vectors of one embedder; files are read when first used.

    The vectors of "minilm" and "hashing" are shipped, and those of "static" made in seconds.

    Raises:
        UnknownNameError: there are no vectors of that embedder.
        DataError: the folder has no `world.yaml`, or it is faulty.
    """
    if embedder not in (*EMBEDDERS, *QUICK):
        raise UnknownNameError(f"no shipped vectors of '{embedder}'. There are: {', '.join((*EMBEDDERS, *QUICK))}.")
    folder = data_folder() if folder is None else folder
    world = World.load(folder / "world.yaml")
    return Shipped(world, Layout.of(world), folder, embedder)


@dataclass(frozen=True, eq=False)
class Shipped(WorldSample):
    """The shipped data, with the vectors of one embedder; see `WorldSample`.

    Stored vectors are rounded, and otherwise those of the embedder: models fitted on them score texts.

    Attributes:
        folder: where the files are.
        embedder: "minilm", "hashing" or "static".
    """

    folder: Path
    embedder: str

    @cached_property
    def responses(self) -> Mapping[str, Responses]:
        """The texts of each split: "training", which pairs are formed among, and "pools"."""
        return {name: read_responses(self.folder / f"{name}.jsonl.gz", self.world) for name in SPLITS}

    @cached_property
    def features(self) -> Mapping[str, Features]:
        """The features of each split."""
        if self.embedder in QUICK:
            quick = Embedder.of(self.embedder)
            made = provenance_of(quick)
            return {
                name: self.with_vectors(written, quick.embed(joint_texts(written)).vectors, made)
                for name, written in self.responses.items()
            }
        path = self.folder / f"{self.embedder}.npz"
        if not path.exists():
            raise DataError(f"no {path.name} in {self.folder}; make it with `embrm data build`")
        damaged = "is not what `embrm data build` writes; make it again"
        vectors = translated(lambda: _vectors(path), name=str(path), why=damaged)
        made = provenance_of(Embedder.of({"name": self.embedder, "options": EMBEDDERS[self.embedder]}))
        for name, written in self.responses.items():
            if len(vectors[name]) != len(written):
                raise DataError(
                    f"{path} has {len(vectors[name])} vectors for the {len(written)} texts of '{name}'; "
                    "run `embrm data build`"
                )
        return {name: self.with_vectors(written, vectors[name], made) for name, written in self.responses.items()}


def joint_texts(written: Responses) -> list[str]:
    """Return each response with its prompt, as it is embedded."""
    return [VIEWS["joint"](prompt, text) for prompt, text in zip(written.prompts, written.texts, strict=True)]


def joined(parts: Sequence[Features]) -> Features:
    """Return the rows of several features with the same views, one after the other."""
    made = parts[0].embedder
    clusters = [part.cluster for part in parts if part.cluster is not None]
    return Features(
        {name: np.concatenate([part.views[name] for part in parts]) for name in parts[0].views},
        prompt=np.concatenate([part.prompt for part in parts]),
        length=np.concatenate([part.length for part in parts if part.length is not None]),
        embedder=made if all(part.embedder == made for part in parts) else UNKNOWN,
        cluster=np.concatenate(clusters) if len(clusters) == len(parts) else None,
    )
