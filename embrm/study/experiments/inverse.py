"""The reward behind a policy, inferred from its outputs and those of its base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np

from embrm.core.arrays import Array, IntArray
from embrm.core.data import Candidates, Pairs
from embrm.core.registry import register
from embrm.core.results import RewardModel
from embrm.data.encode import encode
from embrm.heads import Head
from embrm.policies.grammar import GrammarPolicy
from embrm.policies.training import PolicyGradient
from embrm.study.datasets.world import WorldData
from embrm.study.experiments import Experiment, ExperimentSetting, PerPrompt
from embrm.training.inverse import demonstrations, infer
from embrm.world.runs import rewarded_by


@register
@dataclass(frozen=True, kw_only=True)
class InferredReward(Experiment):
    """How well a reward that is inferred from a tuned policy orders held-out responses as the reward behind it does.

    A head learns a reward from the setting's pairs, a policy of the world is tuned against it as by `embrm rl`, and
    the reward is inferred from outputs of it and of π_ref to the training prompts.

    Attributes:
        behind: the head of the reward that the policy is tuned for.
        head: what infers it by maximum entropy, and what learns it from its own labels, to compare with.
        outputs: how many of each policy, for each of the setting's pairs: they need no labels.
        kl_weight, steps, batch, learning_rate: of the run, as those of `embrm rl`.
    """

    kinds: ClassVar[tuple[str, ...]] = ("fast",)
    core_seconds: ClassVar[float] = 25.0
    behind: str = "mlp"
    head: str = "linear"
    outputs: float = 2.0
    kl_weight: float = 0.1
    steps: int = 100
    batch: int = 64
    learning_rate: float = 0.1

    def measure(self, setting: ExperimentSetting) -> Mapping[str, PerPrompt]:
        """Return accuracies on the held-out pairs of prompts, ordered by the reward behind: three models'."""
        data = setting.data
        assert isinstance(data, WorldData)
        pairs = setting.training()
        behind = Head.of(self.behind).fit(pairs, seed=setting.seed)
        run = PolicyGradient(
            steps=self.steps, batch=self.batch, learning_rate=self.learning_rate, kl_weight=self.kl_weight
        ).train(data.world.world, rewarded_by(behind, data.recipe), seed=setting.seed)
        base = GrammarPolicy.from_probabilities(data.world.world.reference)
        tuned = GrammarPolicy.from_flat(np.array(run.steps[-1].logits), like=base)
        rng = np.random.default_rng([setting.seed, 5])
        prompts = self._prompts(data, round(self.outputs * setting.pairs), rng)
        sides = [self._outputs(data, policy, prompts, rng) for policy in (tuned, base)]
        shown = demonstrations(*sides, seed=setting.seed)
        models: dict[str, RewardModel] = {
            "entropy": infer(shown, head=self.head, seed=setting.seed).model,
            "margin": infer(shown, head="max_margin", seed=setting.seed).model,
            "labels": Head.of(self.head).fit(_labelled(pairs, behind), seed=setting.seed),
        }
        test = data.tests["in"]
        true = _labelled(test, behind)
        prompt, number = np.unique(test.prompt, return_inverse=True)
        clusters = data.cluster(test.chosen[np.unique(number, return_index=True)[1]])
        out = {}
        for name, model in models.items():
            right = _right(model.score(test.features).mean, true)
            out[name] = PerPrompt(
                np.bincount(number, weights=right) / np.bincount(number, minlength=len(prompt)), clusters
            )
        return out

    def _prompts(self, data: WorldData, outputs: int, rng: np.random.Generator) -> IntArray:
        """Return topic and wording `(n, 2)` of as many outputs, the training prompts in turn."""
        written = data.world.responses["training"]
        asked = np.unique(np.stack([written.topic, written.question], axis=1), axis=0)
        return np.resize(rng.permutation(asked), (outputs, 2))

    def _outputs(
        self, data: WorldData, policy: GrammarPolicy, prompts: IntArray, rng: np.random.Generator
    ) -> Candidates:
        counts = policy.sample(len(prompts), rng=rng)
        said = data.world.world.respond(prompts[:, 0], counts, rng=rng, question=prompts[:, 1])
        number = prompts[:, 0] * data.world.wordings + prompts[:, 1]
        done = encode(said.prompts, said.texts, embedder=data.recipe, prompt=number)
        return Candidates(done.features, np.arange(len(prompts) + 1))


def _labelled(pairs: Pairs, model: RewardModel) -> Pairs:
    """Return the pairs as a model's reward orders them."""
    reward = model.score(pairs.features).mean
    turned = reward[pairs.rejected] > reward[pairs.chosen]
    chosen = np.where(turned, pairs.rejected, pairs.chosen)
    return replace(pairs, chosen=chosen, rejected=np.where(turned, pairs.chosen, pairs.rejected))


def _right(reward: Array, pairs: Pairs) -> Array:
    return np.asarray(0.5 + 0.5 * np.sign(reward[pairs.chosen] - reward[pairs.rejected]))
