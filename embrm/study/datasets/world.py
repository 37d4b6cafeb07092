"""The shipped world as what a study trains and measures on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np

from embrm.core.data import Features, Pairs
from embrm.core.registry import register
from embrm.embedders import Embedder
from embrm.study.datasets._base import Dataset, PairCounter
from embrm.study.results import key_of
from embrm.study.schema import DatasetConfig
from embrm.world import Mechanism, shipped
from embrm.world.build import MANIFEST
from embrm.world.data_folder import data_folder


@register
@dataclass(frozen=True, eq=False)
class WorldData(Dataset):
    """The shipped world.

    Attributes:
        world: the shipped data.
        texts: features of the training texts, with a view for each embedder.
    """

    world: shipped.Shipped
    texts: Features

    @classmethod
    def identify(cls, config: DatasetConfig) -> str:
        """Return the hash of the shipped files' hashes."""
        manifest = (data_folder() / MANIFEST).read_text(encoding="utf-8")
        return key_of(manifest, config.embedder, config.second)

    @classmethod
    def open(cls, config: DatasetConfig) -> Self:
        """Read the vectors of one or two embedders."""
        data = shipped.load(config.embedder)
        features = shipped.joined([data.features["pools"], data.features["proposals"]])
        texts = data.features["pairs"]
        if config.second:
            other = shipped.load(config.second).features
            second = shipped.joined([other["pools"], other["proposals"]])
            features, texts = _both(features, second, config.second), _both(texts, other["pairs"], config.second)
        n = len(data.features["pools"])
        gold = data.world.gold(np.concatenate([data.responses["pools"].counts, data.responses["proposals"].counts]))
        inside, topics, beyond = (data.test_pairs(split) for split in ("in", "topics", "counts"))
        far = len(data.features["proposals"])
        tests = {
            "in": replace(inside, features=features),
            "topics": replace(topics, features=features),
            # Proposals come first there, and the pools after them.
            "counts": Pairs(features, (beyond.chosen + n) % (n + far), (beyond.rejected + n) % (n + far)),
        }
        rows, offsets = data.proposal_rows
        pool = data.proposal_pool(np.zeros(len(rows)))
        return cls(
            config.name,
            features,
            tests,
            np.arange(n),
            np.arange(0, n + 1, data.layout.pool),
            rows.reshape(len(offsets) - 1, -1),
            pool.log_weight,
            gold,
            False,
            data,
            texts,
            clusters=data.topics_of_prompts,
        )

    @classmethod
    def counter(cls, config: DatasetConfig) -> PairCounter:
        """Return what counts the pairs that the collected texts make."""
        data = shipped.load(config.embedder)

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

    def embedder(self) -> Embedder:
        """Return the embedder whose vectors are shipped."""
        return Embedder.of(self.world.embedder)

    def classes(self, features: Features) -> list[str]:
        """Return the group of each row's topic."""
        topics = self.world.world.spec.topics
        wordings = max(len(topic.questions) for topic in topics)
        return [topics[t].group for t in features.prompt // wordings]


def _both(first: Features, second: Features, name: str) -> Features:
    return replace(first, views={**first.views, f"{name}:joint": second.matrix("joint")})
