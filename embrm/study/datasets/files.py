"""Pairs with labels of their own, with pools or without, as a study's data set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np

from embrm.core.data import Candidates, Pairs
from embrm.core.registry import register
from embrm.data.faults import RowRules
from embrm.data.read import as_pairs
from embrm.data.texts import number_prompts, read_texts
from embrm.embedders import Embedder
from embrm.errors import DataError
from embrm.study.datasets._base import Dataset, PairCounter
from embrm.study.datasets._pools import (
    by_prompt,
    embedder_of,
    file_hash,
    no_pools,
    pool_identity,
    pool_parts,
    read_pool,
    reading,
)
from embrm.study.results import key_of
from embrm.study.schema import TEST_SHARE, DatasetConfig
from embrm.world.mechanism import Mechanism
from embrm.world.shipped import joined

POOLS = 4  # at least, to find a peak on half of them and measure it on the other


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
            return key_of(config.kind, embedder_of(config).identity, file_hash(config.pairs), reading(config))
        return key_of(pool_identity(config), file_hash(config.pairs), reading(config))

    @classmethod
    def open(cls, config: DatasetConfig) -> Self:
        """Read the files; a quarter of the pairs, by prompt, is held out as the split "test", ties among them left out.

        Pools of prompts that training pairs are about are left out: policies are measured on others.

        Raises:
            DataError: a file cannot be read, nothing but ties is held out, or too few pools are left.
        """
        return cls._opened(config, embed=True)

    @classmethod
    def counter(cls, config: DatasetConfig) -> PairCounter:
        """Return what counts the pairs of training prompts."""
        return cls._opened(config, embed=False).available

    @classmethod
    def _opened(cls, config: DatasetConfig, *, embed: bool) -> Self:
        recipe = embedder_of(config)
        rules = RowRules(columns=config.columns, layout=config.layout or None)
        texts = read_texts(config.pairs, kind="pairs", rules=rules)
        given, views = (None, config.views) if embed else (np.zeros((len(texts), 1)), ["joint"])
        pairs = as_pairs(texts, embedder=recipe, features=given, views=views)
        pool = read_pool(config, embed=embed) if config.pool else None
        if pool is not None:  # a prompt has one number in both files
            alone, both = number_prompts(texts)[0], number_prompts(pool.texts, texts)[1]
            prompt = both[np.unique(alone, return_index=True)[1]][pairs.features.prompt]
            pairs = replace(pairs, features=replace(pairs.features, prompt=prompt))
        labelled, test = pairs.split(TEST_SHARE, seed=0)
        test = _decided(test, config).compact()
        if pool is None:
            parts = no_pools(config.name, test.features)
            return cls(**parts, tests={"test": test}, labelled=labelled, recipe=recipe)
        candidates = _apart(pool.candidates, labelled, test, config)
        m = len(candidates.features)
        features = joined([candidates.features, test.features])
        parts = pool_parts(config.name, candidates, np.split(np.arange(m), candidates.offsets[1:-1]))
        gold = None if candidates.gold is None else np.append(candidates.gold, np.full(len(test.features), np.nan))
        parts |= {"features": features, "gold": gold, "clusters": by_prompt(features)}
        held = replace(test, features=features, chosen=test.chosen + m, rejected=test.rejected + m)
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


def _apart(candidates: Candidates, labelled: Pairs, test: Pairs, config: DatasetConfig) -> Candidates:
    """Return the pools of prompts, and clusters, that no training pair is about."""
    by_cluster = candidates.features.cluster is not None
    if by_cluster != (test.features.cluster is not None):
        named, silent = (config.pool, config.pairs) if by_cluster else (config.pairs, config.pool)
        raise DataError(
            f"dataset '{config.name}': {named} says which cluster each prompt belongs to, and {silent} does not; give "
            "both files a column 'cluster', or neither"
        )
    trained = np.isin(candidates.features.prompt[candidates.offsets[:-1]], labelled.prompt)
    if len(trained) - trained.sum() < POOLS:
        raise DataError(
            f"dataset '{config.name}': {trained.sum()} of the {len(trained)} prompts of {config.pool} are among those "
            f"of the training pairs, and at least {POOLS} others are needed to measure on; add pools of others"
        )
    return candidates.take(np.flatnonzero(~trained))


def _decided(pairs: Pairs, config: DatasetConfig) -> Pairs:
    """Return the pairs that say something: no ties, and none of weight 0."""
    keep = np.ones(len(pairs), dtype=bool) if pairs.tie is None else ~pairs.tie
    keep &= True if pairs.weight is None else pairs.weight > 0
    if not keep.any():
        raise DataError(f"dataset '{config.name}': all pairs held out of {config.pairs} are ties; add decided pairs")
    return pairs.take(keep)
