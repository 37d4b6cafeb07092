"""The shipped world as what a study trains and measures on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np

from embrm.core.arrays import IntArray
from embrm.core.data import Features, Pairs
from embrm.core.data_folder import data_folder
from embrm.core.registry import register
from embrm.embedders import Embedder
from embrm.study.datasets._base import Dataset, PairCounter
from embrm.study.results import key_of
from embrm.study.schema import DatasetConfig
from embrm.world import Mechanism, shipped
from embrm.world.build import MANIFEST
from embrm.world.world_sample import WorldSample


@register
@dataclass(frozen=True, eq=False)
class WorldData(Dataset):
    """The shipped world.

    Attributes:
        world: texts, gold and annotators.
        texts: features of the training texts, with a view for each embedder.
        recipe: what embeds new texts.
    """

    world: WorldSample
    texts: Features
    recipe: Embedder

    @classmethod
    def identify(cls, config: DatasetConfig) -> str:
        """Return the hash of the shipped files' hashes."""
        manifest = (data_folder() / MANIFEST).read_text(encoding="utf-8")
        return key_of(manifest, config.embedder, config.second)

    @classmethod
    def open(cls, config: DatasetConfig) -> Self:
        """Read the vectors of one or two embedders."""
        data = shipped.load(config.embedder)
        pools, texts = data.features["pools"], data.features["training"]
        if config.second:
            other = shipped.load(config.second).features
            pools, texts = (
                replace(mine, views={**mine.views, f"{config.second}:joint": other[split].matrix("joint")})
                for mine, split in ((pools, "pools"), (texts, "training"))
            )
        return cls(**sample_parts(config.name, data, pools), world=data, texts=texts, recipe=Embedder.of(data.embedder))

    @classmethod
    def stock(cls, config: DatasetConfig) -> WorldSample:
        """Return a sample with the training texts, whose vectors nobody will ask for."""
        return shipped.load(config.embedder)

    @classmethod
    def counter(cls, config: DatasetConfig) -> PairCounter:
        """Return what counts the pairs that the collected texts make."""
        data = cls.stock(config)

        def available(*, mechanism: Mechanism, seed: int) -> int:
            return data.collected(mechanism, pairs=1, seed=seed).available

        return available

    def train(self, *, mechanism: Mechanism, flips: float, pairs: int, seed: int) -> Pairs:
        """Return pairs of the training texts, labelled by the simulated annotators."""
        drawn = self.world.preferences(mechanism, flips=flips, pairs=pairs, seed=seed)
        return replace(drawn, features=self.texts)

    def available(self, *, mechanism: Mechanism, seed: int) -> int:
        """Return how many pairs the texts make that are collected."""
        return self.world.collected(mechanism, pairs=1, seed=seed).available

    def seen(self, *, mechanism: Mechanism, pairs: int, seed: int) -> dict[str, float]:
        """Return the correlation of the world's style and quality, and the share of the training texts."""
        found = self.world.collected(mechanism, pairs=pairs, seed=seed)
        return {"style_quality_correlation": found.correlation, "seen_share": found.seen_share}

    def written(self, rows: IntArray) -> list[tuple[str, str]]:
        """Return prompts and responses of the pools."""
        texts = self.world.responses["pools"]
        return [(texts.prompts[i], texts.texts[i]) for i in rows]

    def embedder(self) -> Embedder:
        """Return the embedder of the vectors."""
        return self.recipe

    def classes(self, features: Features) -> list[str]:
        """Return the group of each row's topic."""
        topics = self.world.world.spec.topics
        return [topics[t].group for t in features.prompt // self.world.wordings]


def sample_parts(name: str, data: WorldSample, features: Features) -> dict[str, Any]:
    """Return the fields of a data set that is a sample of the world, with the features of its pools."""
    own, n = data.reference_rows, len(features)
    return {
        "name": name,
        "features": features,
        "tests": {split: replace(data.test_pairs(split), features=features) for split in ("in", "topics", "counts")},
        "pool_rows": own.ravel(),
        "pool_offsets": np.arange(len(own) + 1) * own.shape[1],
        "path_rows": np.arange(n).reshape(len(own), -1),
        "log_weight": data.proposal_pool(np.zeros(n)).log_weight,
        "gold": data.gold,
        "exact": False,
        "clusters": data.topics_of_prompts,
    }
