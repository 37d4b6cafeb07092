"""What a principle that is added when a policy is optimised does to gold, without new labels."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import ClassVar

import numpy as np

from embrm.core.arrays import Array
from embrm.core.registry import register
from embrm.data.encode import under
from embrm.errors import OptionError
from embrm.heads import FittedHead, Head, PrincipleWarning
from embrm.study.datasets import Dataset
from embrm.study.datasets.world import WorldData
from embrm.study.experiments._experiment import Experiment, ExperimentSetting, PerPrompt
from embrm.study.measures.gold import gold_at
from embrm.world.principles import find_principle, told_pairs

# Reading a principle takes more steps than early stopping on a few noisy pairs allows.
LONG = {"name": "mlp", "options": {"patience": 0, "epochs": 8, "learning_rate": 3e-3, "weight_decay": 1.0}}


@register
@dataclass(frozen=True, kw_only=True)
class PrincipleAdded(Experiment):
    """Gold at a fixed KL under a principle, its negation, and of the same head that reads none.

    One head learns what annotators prefer who are told a principle with each pair, drawn at random, or its negation;
    another, of the same recipe, what they prefer on the same pairs left to their own taste. The policies are the exact
    optima of the second reward, and of the first under the principle in each of its wordings (SALMON, 2310.05910).

    Attributes:
        head: the recipe of both; its view is chosen here.
        principle: id of the one that is added, of the world's.
        kl: nats from π_ref.
    """

    kinds: ClassVar[tuple[str, ...]] = ("fast", "world")
    core_seconds: ClassVar[float] = 25.0
    head: Head = field(default_factory=lambda: Head.of(LONG))
    principle: str = "no-flattery"
    kl: float = 2.0

    def __post_init__(self) -> None:
        find_principle(self.principle)
        if not self.kl > 0:
            raise OptionError(f"kl must be > 0 nats, got {self.kl}")

    def measure(self, setting: ExperimentSetting) -> Mapping[str, PerPrompt]:
        """Return gold `(prompts,)`, the mean over wordings: "plain", "told", "held_out" and "negation" (held out too).

        "told" are the wordings of training rows. NaN where the path is not reliable as far as that KL.
        """
        data, principle = setting.data, find_principle(self.principle)
        assert isinstance(data, WorldData)
        plain = replace(self.head, view="joint").fit(setting.training(), seed=setting.seed)
        pairs = told_pairs(
            data.world,
            setting.mechanism,
            embedder=data.embedder(),
            flips=setting.flips,
            pairs=setting.pairs,
            seed=setting.seed,
        )
        model = replace(self.head, view="joint+principle").fit(pairs, seed=setting.seed)
        wordings = {"told": principle.wordings, "held_out": principle.held_out, "negation": principle.negation.held_out}
        found = {name: self._gold(data, model, texts) for name, texts in wordings.items()}
        found["plain"] = gold_at(data, plain.score(data.features).mean, kl=self.kl)
        clusters = data.cluster(data.path_rows[:, 0])
        return {name: PerPrompt(values, clusters) for name, values in found.items()}

    def _gold(self, data: Dataset, model: FittedHead, wordings: Sequence[str]) -> Array:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", PrincipleWarning)  # how unlike they may be is what is asked
            models = [under(model, text, embedder=data.embedder()) for text in wordings]
        each = [gold_at(data, one.score(data.features).mean, kl=self.kl) for one in models]
        return np.asarray(np.mean(each, axis=0))
