"""A candidate pool with gold as a study's data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np

from embrm.core.arrays import Array, IntArray
from embrm.core.data import Pairs
from embrm.core.registry import register
from embrm.embedders import Embedder
from embrm.errors import DataError
from embrm.study.datasets._base import Dataset
from embrm.study.datasets._pools import pool_identity, pool_parts, read_pool
from embrm.study.schema import TEST_SHARE, DatasetConfig
from embrm.world.preferences import prefer

TEST_PAIRS = 40  # of each test prompt


@register
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
    needs: ClassVar[tuple[str, ...]] = ("pool",)

    @classmethod
    def identify(cls, config: DatasetConfig) -> str:
        """Return the hash of the pool's file and its vectors."""
        return pool_identity(config)

    @classmethod
    def open(cls, config: DatasetConfig) -> Self:
        """Read the pool and its vectors, or embed its texts."""
        recipe, candidates = read_pool(config)
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
            **pool_parts(config.name, candidates, [pools[i] for i in held]),
            tests={"test": Pairs(candidates.features, test[:, 0], test[:, 1])},
            train_rows=training,
            quality=[_standard(gold[rows]) for rows in training],
            liking=[_standard(length[rows]) for rows in training],
            recipe=recipe,
        )

    def train(self, *, bias: float, flips: float, pairs: int, seed: int) -> Pairs:
        """Return pairs of responses, as many a prompt for each."""
        utility = [gold + bias * liked for gold, liked in zip(self.quality, self.liking, strict=True)]
        # A pool whose responses are all of one utility has no pair to give, and the others give its share.
        able = [(rows, u) for rows, u in zip(self.train_rows, utility, strict=True) if u.min() < u.max()]
        each = -(-pairs // max(len(able), 1))
        drawn = _sampled([rows for rows, _ in able], [u for _, u in able], each=each, seed=seed)
        drawn = drawn[np.random.default_rng([seed, 1]).permutation(len(drawn))[:pairs]]
        if len(drawn) < pairs:
            raise DataError(f"dataset '{self.name}' has {len(drawn)} pairs of unequal utility, asked for {pairs}")
        first = prefer(np.ones(pairs), np.zeros(pairs), seed=seed, flips=flips)
        kept = np.where(first[:, None], drawn, drawn[:, ::-1])
        return Pairs(self.features, kept[:, 0], kept[:, 1])

    def embedder(self) -> Embedder:
        """Return what embedded the pool."""
        return self.recipe


def _sampled(pools: Sequence[IntArray], utility: Sequence[Array], *, each: int, seed: int) -> IntArray:
    """Return `each` pairs `(n, 2)` of every pool, the better response first; ties are drawn again."""
    rng = np.random.default_rng(seed)
    out: list[IntArray] = [np.empty((0, 2), dtype=np.int64)]
    for rows, u in zip(pools, utility, strict=True):
        drawn = rng.integers(len(rows), size=(20 * each, 2))
        drawn = drawn[u[drawn[:, 0]] > u[drawn[:, 1]]][:each]
        out.append(rows[drawn])
    return np.concatenate(out)


def _standard(x: Array) -> Array:
    return np.asarray((x - x.mean()) / (x.std() or 1.0))
