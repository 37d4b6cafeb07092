"""What unlabelled pairs are worth to two heads that label for each other, and to heads that label for themselves."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from embrm.core.arrays import Array, IntArray
from embrm.core.data import Features, Pairs
from embrm.core.registry import register
from embrm.data.encode import VIEWS
from embrm.embedders import Embedder
from embrm.errors import OptionError
from embrm.heads import FittedHead, Head
from embrm.heads.ensemble import Ensemble
from embrm.study.datasets.world import WorldData
from embrm.study.experiments._experiment import Experiment, ExperimentSetting, PerPrompt
from embrm.training.self_training import NoAgreementWarning, SelfTraining

OWN, SECOND = "joint", "second"  # the two views: by the data set's embedder, and by another
HIDDEN = 29  # beside the seed of the order of unlabelled pairs, which otherwise says which text won
SMALL = {"name": "hashing", "options": {"dimension": 512}}


@register
@dataclass(frozen=True, kw_only=True)
class UnlabelledPairs(Experiment):
    """Accuracy on new prompts with labels alone, with plain self-training, and with self-consistency.

    The setting's pairs are labelled; others of the same mechanism are not. All three are ensembles of the same two
    heads, which read the texts through two embedders (`embrm.SelfTraining`, after 2502.08922).

    Attributes:
        head: the recipe of both.
        second: the embedder of the second view.
        unlabelled: how many pairs without a label.
        each: test pairs of a prompt.
    """

    kinds: ClassVar[tuple[str, ...]] = ("fast", "world")
    core_seconds: ClassVar[float] = 20.0
    head: Head = field(default_factory=lambda: Head.of("linear"))
    second: Mapping[str, Any] = field(default_factory=lambda: dict(SMALL))
    unlabelled: int = 4000
    each: int = 16

    def __post_init__(self) -> None:
        Embedder.of(self.second)
        if min(self.unlabelled, self.each) < 1:
            raise OptionError(f"unlabelled and each must be >= 1, got {self.unlabelled} and {self.each}")

    def measure(self, setting: ExperimentSetting) -> Mapping[str, PerPrompt]:
        """Return accuracies `(prompts,)` on new wordings: "labels", "plain" and "consistent"."""
        data, labelled = setting.data, setting.pairs
        assert isinstance(data, WorldData)
        more = labelled + self.unlabelled
        drawn = data.train(mechanism=setting.mechanism, flips=setting.flips, pairs=more, seed=setting.seed)
        texts = data.world.responses["training"]
        written = [(texts.prompts[i], texts.texts[i]) for i in drawn.rows]
        known = self._beside(drawn.compact(), written)
        labels, rest = known.take(np.arange(labelled)), known.take(np.arange(labelled, more))
        turned = np.random.default_rng([setting.seed, HIDDEN]).random(len(rest)) < 0.5
        sides = (np.where(turned, rest.rejected, rest.chosen), np.where(turned, rest.chosen, rest.rejected))
        unlabelled = Pairs(known.features, *sides)
        both = Ensemble(base=self.head, members=2, diversity="embedder", views=(OWN, SECOND))
        recipes: dict[str, Ensemble | SelfTraining] = {
            "labels": both,
            "plain": SelfTraining(both, unlabelled, consistent=False),
            "consistent": SelfTraining(both, unlabelled),
        }
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", NoAgreementWarning)  # then what is learned from labels alone is measured
            models = {name: recipe.fit(labels, seed=setting.seed) for name, recipe in recipes.items()}
        return self._measured(data, models)

    def _measured(self, data: WorldData, models: Mapping[str, FittedHead]) -> Mapping[str, PerPrompt]:
        pairs = data.tests["in"]
        kept = np.concatenate([np.flatnonzero(pairs.prompt == p)[: self.each] for p in np.unique(pairs.prompt)])
        few = pairs.take(kept)
        tests = self._beside(few.compact(), data.written(few.rows))
        number, prompt = np.unique(tests.prompt, return_inverse=True)
        clusters = data.cluster(few.chosen[np.unique(few.prompt, return_index=True)[1]])
        return {
            name: PerPrompt(_shares(model.score(tests.features).mean, tests, prompt, len(number)), clusters)
            for name, model in models.items()
        }

    def _beside(self, pairs: Pairs, written: Sequence[tuple[str, str]]) -> Pairs:
        """Return pairs whose features have both views; `written` are prompt and response of each row."""
        texts = [VIEWS["joint"](prompt, response) for prompt, response in written]
        features = pairs.features
        views = {OWN: features.rows(OWN), SECOND: Embedder.of(self.second).embed(texts).vectors}
        made = Features(views, prompt=features.prompt, length=features.length)
        return Pairs(made, pairs.chosen, pairs.rejected)


def _shares(value: Array, pairs: Pairs, prompt: IntArray, prompts: int) -> Array:
    """Return the share of each prompt's pairs whose chosen text has the larger value; equal ones count one half."""
    hit = 0.5 + 0.5 * np.sign(value[pairs.chosen] - value[pairs.rejected])
    return np.asarray(np.bincount(prompt, weights=hit, minlength=prompts) / np.bincount(prompt, minlength=prompts))
