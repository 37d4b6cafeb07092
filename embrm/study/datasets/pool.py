"""A candidate pool with gold as a study's data set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from embrm.core.arrays import Array, BoolArray, IntArray
from embrm.core.data import Candidates, Pairs
from embrm.core.registry import register
from embrm.data.texts import Texts
from embrm.embedders import Embedder
from embrm.errors import DataError, OptionError
from embrm.study.datasets._base import Dataset, PairCounter
from embrm.study.datasets._pools import pool_identity, pool_parts, read_pool
from embrm.study.schema import TEST_SHARE, DatasetConfig
from embrm.world.collect import Stock, correlation
from embrm.world.mechanism import Mechanism
from embrm.world.preferences import prefer

TEST_PAIRS = 40  # of each test prompt


@register
@dataclass(frozen=True, eq=False)
class PoolData(Dataset):
    """A candidate pool with gold: preferences between its responses, as simulated annotators would give them.

    Their utility is the gold plus `bias` times the length, each in standard deviations of its prompt's pool; where
    texts are confounded, the style is the length. A quarter of the prompts is held out; the split is the same for every
    seed, so that seeds and prompts cross.

    Attributes:
        train_rows: `(prompts, size)` rows of the training prompts' pools, and their utilities' two parts.
        quality, liking: `(prompts, size)`.
        recipe: what embeds new texts.
        responses: `(m,)` prompt and response of each row.
    """

    train_rows: Sequence[IntArray]
    quality: list[Array]
    liking: list[Array]
    recipe: Embedder
    responses: Sequence[tuple[str, str]]
    needs: ClassVar[tuple[str, ...]] = ("pool",)

    @classmethod
    def identify(cls, config: DatasetConfig) -> str:
        """Return the hash of the pool's file and its vectors."""
        return pool_identity(config)

    @classmethod
    def open(cls, config: DatasetConfig) -> Self:
        """Read the pool and its vectors, or embed its texts."""
        return cls._opened(config, embed=True)

    @classmethod
    def counter(cls, config: DatasetConfig) -> PairCounter | None:
        """Return what counts the pairs of unequal utility."""
        return cls._opened(config, embed=False).available

    @classmethod
    def _opened(cls, config: DatasetConfig, *, embed: bool, **more: Any) -> Self:
        pool = read_pool(config, embed=embed)
        candidates = pool.candidates
        gold = candidates.gold
        if gold is None:
            raise DataError(
                f"dataset '{config.name}': {config.pool} has no gold, which kind 'pool' makes its preferences from; "
                "add a 'gold' list to each row, or give kind 'files' with a pair file"
            )
        pools = np.split(np.arange(len(gold)), candidates.offsets[1:-1])
        held = _held_out(candidates, config)
        training = [pools[i] for i in np.setdiff1d(np.arange(len(pools)), held)]
        liked = cls.liked(config, pool.texts)[pool.kept]
        test = _sampled([pools[i] for i in held], [gold[pools[i]] for i in held], each=TEST_PAIRS, seed=1)
        return cls(
            **pool_parts(config.name, candidates, [pools[i] for i in held]),
            tests={"test": Pairs(candidates.features, test[:, 0], test[:, 1])},
            train_rows=training,
            quality=[_standard(gold[rows]) for rows in training],
            liking=[_standard(liked[rows]) for rows in training],
            recipe=pool.recipe,
            responses=[(pool.texts.prompts[i], pool.texts.responses[i]) for i in pool.kept],
            **more,
        )

    @classmethod
    def liked(cls, config: DatasetConfig, texts: Texts) -> Array:
        """Return what biased annotators like of each text beyond the gold, in any unit: its length."""
        return np.array([len(text) for text in texts.responses], dtype=np.float64)

    def train(self, *, mechanism: Mechanism, flips: float, pairs: int, seed: int) -> Pairs:
        """Return pairs of responses of unequal utility, equally many a prompt as far as each has them, none twice."""
        drawn = self._drawn(mechanism, pairs, seed)
        first = prefer(np.ones(pairs), np.zeros(pairs), seed=seed, flips=flips)
        kept = np.where(first[:, None], drawn, drawn[:, ::-1])
        return Pairs(self.features, kept[:, 0], kept[:, 1])

    def available(self, *, mechanism: Mechanism, seed: int) -> int:
        """Return how many pairs of unequal utility the collected responses make."""
        return sum(map(len, self._possible(mechanism, self._collected(mechanism, seed)[1])))

    def seen(self, *, mechanism: Mechanism, pairs: int, seed: int) -> dict[str, float]:
        """Return the correlation of length and gold, both in their pools' standard deviations, and the share seen."""
        rows = np.concatenate(self.train_rows)
        used = np.isin(rows, self._drawn(mechanism, pairs, seed))
        quality, liking = np.concatenate(self.quality)[used], np.concatenate(self.liking)[used]
        share = float(self._collected(mechanism, seed)[0].mean())
        return {"style_quality_correlation": correlation(quality, liking), "seen_share": share}

    def _drawn(self, mechanism: Mechanism, pairs: int, seed: int) -> IntArray:
        """Return `pairs` pairs `(n, 2)`, the response of higher utility first."""
        possible = self._possible(mechanism, self._collected(mechanism, seed)[1])
        able = np.array([len(some) for some in possible])
        if able.sum() < pairs:
            raise DataError(
                f"dataset '{self.name}' has {able.sum()} pairs of unequal utility to train on, asked for {pairs}; "
                "lower 'pairs'"
            )
        rng = np.random.default_rng([seed, 1])
        taken = [some[rng.permutation(len(some))[:n]] for some, n in zip(possible, _shares(able, pairs), strict=True)]
        return np.asarray(np.concatenate(taken)[rng.permutation(pairs)])

    def _collected(self, mechanism: Mechanism, seed: int) -> tuple[BoolArray, BoolArray]:
        """Return which responses to the training prompts are seen, and which of them are collected."""
        if mechanism.unseen:
            raise OptionError(
                f"dataset '{self.name}': a pool has no styles that could be unseen, got {', '.join(mechanism.unseen)}; "
                "take 'unseen' out of the mechanism"
            )
        prompt = np.repeat(np.arange(len(self.train_rows)), [len(rows) for rows in self.train_rows])
        quality, liking = np.concatenate(self.quality), np.concatenate(self.liking)
        stock = Stock(prompt, prompt, quality, liking, np.zeros(len(prompt), dtype=bool))
        rng = np.random.default_rng([seed, 7])
        seen = stock.seen(mechanism, rng=rng)
        return seen, stock.kept(mechanism, seen, rng=rng)

    def _possible(self, mechanism: Mechanism, kept: BoolArray) -> list[IntArray]:
        """Return for each training prompt all pairs `(n, 2)` of unequal utility, the higher first."""
        found = []
        parts = np.split(kept, np.cumsum([len(rows) for rows in self.train_rows])[:-1])
        for rows, gold, liked, keep in zip(self.train_rows, self.quality, self.liking, parts, strict=True):
            utility = (gold + mechanism.bias * liked)[keep]
            better, worse = np.nonzero(utility[:, None] > utility)
            found.append(np.stack([rows[keep][better], rows[keep][worse]], axis=1))
        return found

    def written(self, rows: IntArray) -> list[tuple[str, str]]:
        """Return prompts and responses of the pools."""
        return [self.responses[i] for i in rows]

    def embedder(self) -> Embedder:
        """Return what embedded the pool."""
        return self.recipe


def _held_out(candidates: Candidates, config: DatasetConfig) -> IntArray:
    """Return the pools to measure on: a quarter of the clusters of prompts, which no training pair is about."""
    of_rows = candidates.features.cluster
    apart = np.arange(len(candidates)) if of_rows is None else of_rows[candidates.offsets[:-1]]
    units, unit = np.unique(apart, return_inverse=True)
    order = np.random.default_rng(0).permutation(len(units))
    held = order[: max(int(len(units) * TEST_SHARE), 2)]
    if len(held) < 4 or len(units) - len(held) < 4:
        what = "prompts" if of_rows is None else "clusters of prompts"
        raise DataError(f"dataset '{config.name}': {len(units)} {what} are too few to split; give at least 16")
    return np.flatnonzero(np.isin(unit, held))


def _shares(able: IntArray, pairs: int) -> IntArray:
    """Return how many pairs each prompt gives, all equally many or as many as it has: `pairs` together."""
    low, high = 0, int(able.max())
    while low < high:  # the smallest equal share that is enough
        middle = (low + high) // 2
        low, high = (low, middle) if np.minimum(able, middle).sum() >= pairs else (middle + 1, high)
    shares = np.minimum(able, low)
    spare = np.flatnonzero(shares == low)[: shares.sum() - pairs]
    shares[spare] -= 1
    return np.asarray(shares)


def _sampled(pools: Sequence[IntArray], gold: Sequence[Array], *, each: int, seed: int) -> IntArray:
    """Return `each` pairs `(n, 2)` of every pool, or all that it has, the better response first."""
    rng = np.random.default_rng(seed)
    out: list[IntArray] = [np.empty((0, 2), dtype=np.int64)]
    for rows, u in zip(pools, gold, strict=True):
        better, worse = np.nonzero(u[:, None] > u)
        taken = rng.permutation(len(better))[:each]
        out.append(np.stack([rows[better[taken]], rows[worse[taken]]], axis=1))
    return np.concatenate(out)


def _standard(x: Array) -> Array:
    return np.asarray((x - x.mean()) / (x.std() or 1.0))
