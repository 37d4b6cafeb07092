"""Pairs with labels of their own, with pools or without, as a study's data set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from embrm.core.data import Candidates, Pairs
from embrm.core.registry import register
from embrm.data.read import read_pairs
from embrm.embedders import Embedder
from embrm.errors import DataError
from embrm.study.datasets._base import Dataset
from embrm.study.datasets._pools import (
    by_prompt,
    embedder_of,
    file_hash,
    no_pools,
    pool_identity,
    pool_parts,
    read_pool,
)
from embrm.study.results import key_of
from embrm.study.schema import TEST_SHARE, DatasetConfig
from embrm.world.mechanism import Mechanism
from embrm.world.shipped import joined


@register
@dataclass(frozen=True, eq=False)
class FileData(Dataset):
    """Pairs with labels of their own, and where there are any, pools to choose from, from two files.

    Without pools, or without gold in them, heads are measured on held-out pairs alone: accuracy and calibration.

    Attributes:
        labelled: the pairs of training prompts.
        recipe: what embeds texts.
    """

    labelled: Pairs
    recipe: Embedder
    needs: ClassVar[tuple[str, ...]] = ("pairs",)
    own_labels: ClassVar[bool] = True

    @classmethod
    def identify(cls, config: DatasetConfig) -> str:
        """Return the hash of the files, or without pools of the pair file and the embedder."""
        if not config.pool:
            return key_of(config.kind, embedder_of(config).identity, file_hash(config.pairs))
        return key_of(pool_identity(config), file_hash(config.pairs))

    @classmethod
    def open(cls, config: DatasetConfig) -> Self:
        """Read the files; a quarter of the pairs, by prompt, is held out as the split "test", ties among them left out.

        Raises:
            DataError: a file cannot be read, or nothing but ties is held out.
        """
        recipe, candidates = read_pool(config) if config.pool else (embedder_of(config), None)
        pairs = read_pairs(config.pairs, embedder=recipe)
        labelled, test = pairs.split(TEST_SHARE, seed=0)
        test = _decided(test, config).compact()
        if candidates is None:
            parts = no_pools(config.name, test.features)
            return cls(**parts, tests={"test": test}, labelled=labelled, recipe=recipe)
        if (candidates.features.cluster is None) != (test.features.cluster is None):
            with_them, without = sorted(
                (config.pool, config.pairs), key=lambda file: file != _named(candidates, config)
            )
            raise DataError(
                f"dataset '{config.name}': {with_them} says which cluster each prompt belongs to, and {without} does "
                "not; give both files a column 'cluster', or neither"
            )
        m = len(candidates.features)
        above = candidates.features.prompt.max() + 1  # the files number their prompts, and the pools' come first
        features = joined([candidates.features, replace(test.features, prompt=test.features.prompt + above)])
        pools = np.split(np.arange(m), candidates.offsets[1:-1])
        parts = pool_parts(config.name, candidates, pools)
        gold = None if candidates.gold is None else np.append(candidates.gold, np.full(len(test.features), np.nan))
        parts |= {"features": features, "gold": gold, "clusters": by_prompt(features)}
        held = Pairs(features, test.chosen + m, test.rejected + m)
        return cls(**parts, tests={"test": held}, labelled=labelled, recipe=recipe)

    def train(self, *, mechanism: Mechanism, flips: float, pairs: int, seed: int) -> Pairs:
        """Return the first pairs of a random order with the file's labels; whatever made them is in them."""
        n = len(self.labelled)
        if pairs > n:
            raise DataError(f"dataset '{self.name}' has {n} training pairs, asked for {pairs}; lower 'pairs'")
        taken = self.labelled.take(np.random.default_rng([seed, 1]).permutation(n)[:pairs])
        turned = np.random.default_rng([seed, 2]).random(pairs) < flips
        chosen, rejected = taken.chosen, taken.rejected
        return replace(taken, chosen=np.where(turned, rejected, chosen), rejected=np.where(turned, chosen, rejected))

    def available(self, *, mechanism: Mechanism, seed: int) -> int:
        """Return how many pairs of training prompts the file has."""
        return len(self.labelled)

    def embedder(self) -> Embedder:
        """Return what embedded both files."""
        return self.recipe


def _named(candidates: Candidates, config: DatasetConfig) -> str:
    return config.pairs if candidates.features.cluster is None else config.pool


def _decided(pairs: Pairs, config: DatasetConfig) -> Pairs:
    if pairs.tie is None:
        return pairs
    if pairs.tie.all():
        raise DataError(f"dataset '{config.name}': all pairs held out of {config.pairs} are ties; add decided pairs")
    return pairs.take(~pairs.tie)
