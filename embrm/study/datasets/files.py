"""Pairs with labels of their own, and pools, as a study's data set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from embrm.core.data import Pairs
from embrm.core.registry import register
from embrm.data.read import read_pairs
from embrm.embedders import Embedder
from embrm.errors import DataError
from embrm.study.datasets._base import Dataset
from embrm.study.datasets._pools import TEST_SHARE, file_hash, pool_identity, pool_parts, read_pool
from embrm.study.results import key_of
from embrm.study.schema import DatasetConfig
from embrm.world.shipped import joined


@register
@dataclass(frozen=True, eq=False)
class FileData(Dataset):
    """Pairs with labels of their own and pools to choose from, from two files.

    Attributes:
        labelled: the pairs of training prompts.
        recipe: what embeds texts.
    """

    labelled: Pairs
    recipe: Embedder
    needs: ClassVar[tuple[str, ...]] = ("pool", "pairs")
    own_labels: ClassVar[bool] = True

    @classmethod
    def identify(cls, config: DatasetConfig) -> str:
        """Return the hash of both files."""
        return key_of(pool_identity(config), file_hash(config.pairs))

    @classmethod
    def open(cls, config: DatasetConfig) -> Self:
        """Read both files; a quarter of the pairs, by prompt, is held out as the split "test"."""
        recipe, candidates = read_pool(config)
        pairs = read_pairs(config.pairs, embedder=recipe)
        labelled, test = pairs.split(TEST_SHARE, seed=0)
        test, m = test.compact(), len(candidates.features)
        features = joined([candidates.features, test.features])
        pools = np.split(np.arange(m), candidates.offsets[1:-1])
        parts = pool_parts(config.name, candidates, pools)
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
