"""Candidate pools from files, for the data sets that are made of them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embrm.core.arrays import BoolArray, IntArray, read_npy
from embrm.core.data import Candidates, Features
from embrm.core.documents import open_file
from embrm.data.faults import RowRules
from embrm.data.read import as_candidates
from embrm.data.texts import Texts, read_texts
from embrm.embedders import Embedder
from embrm.errors import DataError
from embrm.study.results import key_of
from embrm.study.schema import DatasetConfig


def _files(config: DatasetConfig) -> tuple[Path, str]:
    """Return the paths of the pool's file and of its vectors, "" where the texts are to be embedded."""
    path = Path(config.pool)
    if not path.is_dir():
        return path, config.vectors
    found = [path / f"{config.embedder}{ending}" for ending in (".npy", ".f16.npy")]
    return path / "candidates.jsonl.gz", config.vectors or next((str(file) for file in found if file.exists()), "")


def embedder_of(config: DatasetConfig) -> Embedder:
    """Return the embedder that a configuration names."""
    return Embedder.of({"name": config.embedder, "options": config.embedder_options})


def pool_identity(config: DatasetConfig) -> str:
    """Return the hash of a pool's file, of its vectors or what embeds it, and of the policies that are left out."""
    path, vectors = _files(config)
    made = file_hash(vectors) if vectors else embedder_of(config).identity
    return key_of(config.kind, file_hash(path), made, config.omit, reading(config))


def reading(config: DatasetConfig) -> list[Any]:
    """Return how rows are read, of which the hash of a data set has to know."""
    how: list[Any] = [config.columns, config.layout]
    return how if config.views == ["joint"] else [*how, config.views]


def file_hash(path: str | Path) -> str:
    """Return the SHA-256 of a file."""
    with open_file(path) as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True, eq=False)
class ReadPool:
    """A pool as a file has it.

    Attributes:
        recipe: what embeds texts.
        texts: of the whole file.
        candidates: the pools without the omitted policies.
        kept: `(m,)` which texts of the file the rows of these pools are.
    """

    recipe: Embedder
    texts: Texts
    candidates: Candidates
    kept: IntArray


def read_pool(config: DatasetConfig, *, embed: bool = True) -> ReadPool:
    """Read a pool's file; without `embed` all its vectors are zero, and only what the file says is of use."""
    path, vectors = _files(config)
    rules = RowRules() if config.pairs else RowRules(columns=config.columns, layout=config.layout or None)
    texts = read_texts(path, kind="pools", rules=rules)
    given = None if embed else np.zeros((len(texts), 1))
    if vectors and embed:
        given = read_npy(vectors, of="vectors")
        given = given.reshape(-1, given.shape[-1] if given.size else 1)
    recipe = embedder_of(config)
    candidates = as_candidates(texts, embedder=recipe, features=given, views=config.views if embed else ("joint",))
    if not config.omit:
        return ReadPool(recipe, texts, candidates, np.arange(len(candidates.features)))
    kept = _kept(candidates, config)
    return ReadPool(recipe, texts, _without(candidates, kept), np.flatnonzero(kept))


def _kept(candidates: Candidates, config: DatasetConfig) -> BoolArray:
    """Return which rows are not of an omitted policy."""
    if candidates.policy is None:
        raise DataError(f"dataset '{config.name}': 'omit' names policies, and {config.pool} has none")
    names = np.array(candidates.policy)
    missing = sorted(set(config.omit) - set(names.tolist()))
    if missing:
        raise DataError(f"dataset '{config.name}': no policy {', '.join(missing)} in {config.pool}; look for a typo")
    return np.asarray(~np.isin(names, config.omit))


def _without(candidates: Candidates, kept: BoolArray) -> Candidates:
    assert candidates.policy is not None
    sizes = np.add.reduceat(kept.astype(np.int64), candidates.offsets[:-1])
    return Candidates(
        candidates.features.take(kept),
        np.concatenate([[0], np.cumsum(sizes)]),
        gold=None if candidates.gold is None else candidates.gold[kept],
        policy=np.array(candidates.policy)[kept].tolist(),
    )


def pool_parts(name: str, candidates: Candidates, pools: Sequence[IntArray]) -> dict[str, Any]:
    """Return the fields of a data set whose pools are π_ref itself."""
    sizes = np.array([len(rows) for rows in pools])
    padded = np.zeros((len(pools), sizes.max()), dtype=np.int64)
    log_weight = np.full(padded.shape, -np.inf)
    for i, rows in enumerate(pools):
        padded[i, : len(rows)], log_weight[i, : len(rows)] = rows, 0.0
    return {
        "name": name,
        "features": candidates.features,
        "pool_rows": np.concatenate(pools),
        "pool_offsets": np.concatenate([[0], np.cumsum(sizes)]),
        "path_rows": padded,
        "log_weight": log_weight,
        "gold": candidates.gold,
        "exact": True,
        "clusters": by_prompt(candidates.features),
    }


def no_pools(name: str, features: Features) -> dict[str, Any]:
    """Return the fields of a data set without pools: there is nothing to choose from, and no gold."""
    none = np.zeros(0, dtype=np.int64)
    return {
        "name": name,
        "features": features,
        "pool_rows": none,
        "pool_offsets": np.zeros(1, dtype=np.int64),
        "path_rows": none.reshape(0, 1),
        "log_weight": np.zeros((0, 1)),
        "gold": None,
        "exact": True,
        "clusters": by_prompt(features),
    }


def by_prompt(features: Features) -> IntArray | None:
    """Return the cluster of each prompt by its number, or None where the features have none."""
    if features.cluster is None:
        return None
    out = np.zeros(features.prompt.max() + 1, dtype=np.int64)
    out[features.prompt] = features.cluster
    return out
