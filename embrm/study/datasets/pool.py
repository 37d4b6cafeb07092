"""Any candidate pool, and any pair of files, as a study's data set."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np

from embrm.core.arrays import Array, IntArray
from embrm.core.data import Candidates, Pairs
from embrm.data.read import as_candidates, read_pairs
from embrm.data.texts import read_texts
from embrm.embedders import Embedder
from embrm.errors import DataError
from embrm.study.config import DatasetConfig
from embrm.study.datasets.base import Dataset
from embrm.study.results import key_of
from embrm.world.preferences import prefer
from embrm.world.shipped import joined

TEST_SHARE = 0.25  # of a pool's prompts
TEST_PAIRS = 40  # of each test prompt


@dataclass(frozen=True, eq=False)
class PoolData(Dataset):
    """A candidate pool with gold: preferences between its responses, as simulated annotators would give them.

    Their utility is the gold plus `bias` times the length, each in standard deviations of its prompt's pool. A quarter
    of the prompts is held out; the split is the same for every seed, so that seeds and prompts cross.

    Attributes:
        train_rows: `(prompts, size)` rows of the training prompts' pools, and their utilities' two parts.
        quality, liking: `(prompts, size)`.
        recipe: what embeds new texts.
    """

    train_rows: Sequence[IntArray]
    quality: list[Array]
    liking: list[Array]
    recipe: Embedder

    @classmethod
    def identify(cls, config: DatasetConfig) -> str:
        """Return the hash of the pool's file and its vectors."""
        return _pool_identity(config)

    @classmethod
    def open(cls, config: DatasetConfig) -> Self:
        """Read the pool and its vectors, or embed its texts."""
        recipe, candidates = _read_pool(config)
        gold = candidates.gold
        if gold is None:
            raise DataError(
                f"dataset '{config.name}': {config.pool} has no gold, which kind 'pool' makes its preferences from; "
                "add a 'gold' list to each row, or give kind 'files' with a pair file"
            )
        pools = np.split(np.arange(len(gold)), candidates.offsets[1:-1])
        order = np.random.default_rng(0).permutation(len(pools))
        held = np.sort(order[: max(int(len(pools) * TEST_SHARE), 2)])
        if len(held) < 4 or len(pools) - len(held) < 4:
            raise DataError(f"dataset '{config.name}': {len(pools)} prompts are too few to split; give at least 16")
        training = [pools[i] for i in np.setdiff1d(order, held)]
        length = candidates.features.length
        assert length is not None
        test = _sampled([pools[i] for i in held], [gold[pools[i]] for i in held], each=TEST_PAIRS, seed=1)
        return cls(
            **_pool_parts(config.name, candidates, [pools[i] for i in held]),
            tests={"test": Pairs(candidates.features, test[:, 0], test[:, 1])},
            train_rows=training,
            quality=[_standard(gold[rows]) for rows in training],
            liking=[_standard(length[rows]) for rows in training],
            recipe=recipe,
        )

    def train(self, *, bias: float, flips: float, pairs: int, seed: int) -> Pairs:
        """Return pairs of responses, as many a prompt for each."""
        utility = [gold + bias * liked for gold, liked in zip(self.quality, self.liking, strict=True)]
        each = -(-pairs // len(self.train_rows))
        drawn = _sampled(self.train_rows, utility, each=each, seed=seed)
        drawn = drawn[np.random.default_rng([seed, 1]).permutation(len(drawn))[:pairs]]
        if len(drawn) < pairs:
            raise DataError(f"dataset '{self.name}' has {len(drawn)} pairs of unequal utility, asked for {pairs}")
        first = prefer(np.ones(pairs), np.zeros(pairs), seed=seed, flips=flips)
        kept = np.where(first[:, None], drawn, drawn[:, ::-1])
        return Pairs(self.features, kept[:, 0], kept[:, 1])

    def embedder(self) -> Embedder:
        """Return what embedded the pool."""
        return self.recipe


@dataclass(frozen=True, eq=False)
class FileData(Dataset):
    """Pairs with labels of their own and pools to choose from, from two files.

    Attributes:
        labelled: the pairs of training prompts.
        recipe: what embeds texts.
    """

    labelled: Pairs
    recipe: Embedder

    @classmethod
    def identify(cls, config: DatasetConfig) -> str:
        """Return the hash of both files."""
        return key_of(_pool_identity(config), _sha256(config.pairs))

    @classmethod
    def open(cls, config: DatasetConfig) -> Self:
        """Read both files; a quarter of the pairs, by prompt, is held out as the split "test"."""
        recipe, candidates = _read_pool(config)
        pairs = read_pairs(config.pairs, embedder=recipe)
        labelled, test = pairs.split(TEST_SHARE, seed=0)
        test, m = test.compact(), len(candidates.features)
        features = joined([candidates.features, test.features])
        pools = np.split(np.arange(m), candidates.offsets[1:-1])
        parts = _pool_parts(config.name, candidates, pools)
        gold = None if candidates.gold is None else np.append(candidates.gold, np.full(len(test.features), np.nan))
        parts |= {"features": features, "gold": gold}
        held = Pairs(features, test.chosen + m, test.rejected + m)
        return cls(**parts, tests={"test": held}, labelled=labelled, recipe=recipe)

    def train(self, *, bias: float, flips: float, pairs: int, seed: int) -> Pairs:
        """Return the first pairs of a random order with the file's labels; `bias` is theirs, whatever it is."""
        n = len(self.labelled)
        if pairs > n:
            raise DataError(f"dataset '{self.name}' has {n} training pairs, asked for {pairs}; lower 'pairs'")
        taken = self.labelled.take(np.random.default_rng([seed, 1]).permutation(n)[:pairs])
        turned = np.random.default_rng([seed, 2]).random(pairs) < flips
        chosen, rejected = taken.chosen, taken.rejected
        return replace(taken, chosen=np.where(turned, rejected, chosen), rejected=np.where(turned, chosen, rejected))

    def embedder(self) -> Embedder:
        """Return what embedded both files."""
        return self.recipe


def _files(config: DatasetConfig) -> tuple[Path, str]:
    """Return the paths of the pool's file and of its vectors, "" where the texts are to be embedded."""
    path = Path(config.pool)
    if not path.is_dir():
        return path, config.vectors
    found = [path / f"{config.embedder}{ending}" for ending in (".npy", ".f16.npy")]
    return path / "candidates.jsonl.gz", config.vectors or next((str(file) for file in found if file.exists()), "")


def _recipe(config: DatasetConfig) -> Embedder:
    return Embedder.of({"name": config.embedder, "options": config.embedder_options})


def _pool_identity(config: DatasetConfig) -> str:
    path, vectors = _files(config)
    return key_of(config.kind, _sha256(path), _sha256(vectors) if vectors else _recipe(config).identity, config.omit)


def _sha256(path: str | Path) -> str:
    try:
        return hashlib.sha256(Path(path).read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; give the path of a file") from None


def _read_pool(config: DatasetConfig) -> tuple[Embedder, Candidates]:
    """Return the embedder, and the pools without the omitted policies."""
    path, vectors = _files(config)
    given = None
    if vectors:
        given = np.load(vectors, allow_pickle=False).astype(np.float32)
        given = given.reshape(-1, given.shape[-1])
    recipe = _recipe(config)
    candidates = as_candidates(read_texts(path, kind="pools"), embedder=recipe, features=given)
    return recipe, _without(candidates, config) if config.omit else candidates


def _without(candidates: Candidates, config: DatasetConfig) -> Candidates:
    if candidates.policy is None:
        raise DataError(f"dataset '{config.name}': 'omit' names policies, and {config.pool} has none")
    names = np.array(candidates.policy)
    missing = sorted(set(config.omit) - set(names.tolist()))
    if missing:
        raise DataError(f"dataset '{config.name}': no policy {', '.join(missing)} in {config.pool}; look for a typo")
    kept = ~np.isin(names, config.omit)
    sizes = np.add.reduceat(kept.astype(np.int64), candidates.offsets[:-1])
    return Candidates(
        candidates.features.take(kept),
        np.concatenate([[0], np.cumsum(sizes)]),
        gold=None if candidates.gold is None else candidates.gold[kept],
        policy=names[kept].tolist(),
    )


def _pool_parts(name: str, candidates: Candidates, pools: Sequence[IntArray]) -> dict[str, Any]:
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
    }


def _sampled(pools: Sequence[IntArray], utility: Sequence[Array], *, each: int, seed: int) -> IntArray:
    """Return `each` pairs `(n, 2)` of every pool, the better response first; ties are drawn again."""
    rng = np.random.default_rng(seed)
    out = []
    for rows, u in zip(pools, utility, strict=True):
        drawn = rng.integers(len(rows), size=(20 * each, 2))
        drawn = drawn[u[drawn[:, 0]] > u[drawn[:, 1]]][:each]
        out.append(rows[drawn])
    return np.concatenate(out)


def _standard(x: Array) -> Array:
    return np.asarray((x - x.mean()) / (x.std() or 1.0))
