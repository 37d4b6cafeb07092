"""IBL in the world: a reward that pays less the further a text's latent lies from the reference policy's."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from embrm import detectors
from embrm.core.arrays import Array
from embrm.core.results import RewardModel
from embrm.data.encode import encode
from embrm.detectors import ByClass, fit_by_class
from embrm.embedders import Embedder
from embrm.errors import OptionError
from embrm.policies.training import TextFunction
from embrm.world.world_sample import WorldSample


@dataclass(frozen=True, eq=False)
class LatentPenalty:
    """`weight · D(z)`, D the Mahalanobis distance of the latent to those of π_ref's texts (InfoRM's 2025 extension).

    Attributes:
        model: whose first member's latents are meant.
        weight: γ, in reward per unit of distance.
        distance: fitted to the latents of the training texts, which π_ref wrote, for each class of topics.
        group: prompt → its topic's class.
    """

    model: RewardModel
    weight: float
    distance: ByClass
    group: Mapping[str, str]

    def __post_init__(self) -> None:
        if not (math.isfinite(self.weight) and self.weight >= 0):
            raise OptionError(f"the penalty's weight must be >= 0 and finite, got {self.weight}")

    @classmethod
    def of(
        cls, model: RewardModel, data: WorldSample, *, weight: float, by_class: bool = True, squared: bool = False
    ) -> LatentPenalty:
        """Fit the distance to the training texts.

        Args:
            model: a fitted head.
            data: a sample of the world with the vectors of the model's embedder.
            weight: γ >= 0.
            by_class: whether each class of topics has its own mean and covariance.
            squared: take the squared distance, as one account of the method has it.
        """
        topics, written = data.world.spec.topics, data.responses["training"]
        fitted = fit_by_class(
            detectors.get("mahalanobis")(squared=squared),
            model.latent(data.features["training"]),
            classes=[topics[t].group for t in written.topic] if by_class else None,
            seed=0,
        )
        return cls(model, weight, fitted, {q: topic.group for topic in topics for q in topic.questions})

    def rows(self, latents: Array, prompts: Sequence[str]) -> Array:
        """Return what is subtracted from the reward of each latent `(n, k)`, `(n,)`."""
        return self.weight * self.distance.scores(latents, classes=[self.group.get(p) for p in prompts])

    def from_reward(self, reward: TextFunction, embedder: Embedder) -> TextFunction:
        """Return the reward of texts minus the penalty."""

        def penalised(prompts: Sequence[str], texts: Sequence[str]) -> Array:
            latents = self.model.latent(encode(prompts, texts, embedder=embedder, views=self.model.widths).features)
            return np.asarray(reward(prompts, texts)) - self.rows(latents, prompts)

        return penalised

    def on_proposals(self, data: WorldSample) -> Array:
        """Return the penalty of each row of `data.proposals()`, `(m,)`."""
        written = data.responses["pools"]
        return self.rows(self.model.latent(data.features["pools"]), written.prompts)
