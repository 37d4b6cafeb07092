"""Step rewards on traces of the world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np

from embrm.bestofn import AGGREGATIONS, StepSearch, aggregate, step_probability
from embrm.core.arrays import Array, BoolArray, IntArray
from embrm.core.data import Features
from embrm.core.registry import register
from embrm.core.traces import StepTraces
from embrm.data.encode import encode
from embrm.errors import OptionError
from embrm.heads import FittedHead, Head
from embrm.study.datasets.world import WorldData
from embrm.study.experiments._experiment import Experiment, ExperimentSetting, PerPrompt
from embrm.world.judge import WorldGold
from embrm.world.steps import StepWriter, steps_of


@register
@dataclass(frozen=True, kw_only=True)
class Steps(Experiment):
    """Best of n and search by a step reward, beside a reward of whole responses that was trained on the same traces.

    A trace is a response of the world, its sentences the steps, and a prefix is right as long as it makes no wrong
    statement (2310.10080, 2311.05821). The study's pairs are traces here: so many of the texts that the mechanism lets
    be collected, of each the place of the first error as an annotator gives it, who errs in a share `flips` of the
    traces: then any place, or none, is as likely. The reward of whole responses learns from the same annotations, one
    label a trace. Each prompt's responses are drawn from π_ref, all of one length, so that no rule gains by choosing
    short ones. Measured is whether the chosen response makes no wrong statement: by each aggregation ("min", …), by the
    outcome reward ("outcome"), of any response ("random"), and where as many texts are scored by the same step reward,
    of the best of whole responses by "min" ("whole") and of a search ("search").

    Attributes:
        head: name of the head, which both rewards are.
        pool: responses to choose among.
        sentences: of each of them.
        width, candidates: of the search; candidates are the next sentences proposed for each prefix.
    """

    kinds: ClassVar[tuple[str, ...]] = ("fast",)
    core_seconds: ClassVar[float] = 6.0
    head: str = "linear"
    pool: int = 16
    sentences: int = 5
    width: int = 2
    candidates: int = 4

    def __post_init__(self) -> None:
        for name in ("pool", "width", "candidates"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be >= 1, got {getattr(self, name)}")

    def measure(self, setting: ExperimentSetting) -> Mapping[str, PerPrompt]:
        """Return for each prompt whether what is chosen makes no wrong statement."""
        data = setting.data
        assert isinstance(data, WorldData)
        traces = _annotated(data, setting)
        recipe = Head.of({"name": self.head, "options": {"loss": "step"}})
        by_step, by_outcome = (recipe.fit(t.pairs(), seed=setting.seed) for t in (traces, traces.outcomes()))
        pools = _pools(data, self.pool, self.sentences)
        chance, whole = (step_probability(m.score(pools.features)).mean(axis=0) for m in (by_step, by_outcome))
        budget = self.candidates * (1 + self.width * (self.sentences - 1))
        few = max(1, budget // self.sentences)
        value = {how: aggregate(chance, pools.offsets, how) for how in AGGREGATIONS}
        found: dict[str, Array] = {how: pools.chosen(value[how]) for how in AGGREGATIONS}
        found |= {"outcome": pools.chosen(aggregate(whole, pools.offsets, "last"))}
        found |= {"random": pools.right.mean(axis=1), "whole": pools.chosen(value["min"], among=few)}
        found["search"] = self._searched(data, by_step, pools, setting.seed)
        return {name: PerPrompt(values.astype(np.float64), pools.topics) for name, values in found.items()}

    def _searched(self, data: WorldData, model: FittedHead, pools: _StepPools, seed: int) -> Array:
        writer, embedder = StepWriter(data.world.world, self.sentences), data.embedder().fleeting
        search, out = StepSearch(width=self.width), []
        for p, (topic, prompt) in enumerate(zip(pools.topics.tolist(), pools.prompts, strict=True)):
            rng = np.random.default_rng([seed, 11, p])

            def propose(prefixes: Sequence[tuple[str, ...]], topic: int = topic, rng: Any = rng) -> list[list[str]]:
                return [
                    list(dict.fromkeys(writer.following(topic, prefix, rng=rng) for _ in range(self.candidates)))
                    if len(prefix) < self.sentences
                    else []
                    for prefix in prefixes
                ]

            def score(prefixes: Sequence[tuple[str, ...]], prompt: str = prompt) -> Array:
                texts = [" ".join(prefix) for prefix in prefixes]
                features = encode([prompt] * len(texts), texts, embedder=embedder).features
                return np.asarray(step_probability(model.score(features)).mean(axis=0))

            out.append(writer.is_right(topic, search.run(propose, score)[0].steps))
        return np.array(out, dtype=np.float64)


@dataclass(frozen=True, eq=False)
class _StepPools:
    """Responses to choose among: `(prompts, n)` traces of one length, prompt by prompt."""

    features: Features
    offsets: IntArray
    right: BoolArray
    topics: IntArray
    prompts: list[str]

    def chosen(self, value: Array, *, among: int | None = None) -> Array:
        """Return whether the best of each pool's first responses by a value `(traces,)` is right, `(prompts,)`."""
        best = value.reshape(self.right.shape)[:, :among].argmax(axis=1)
        return np.asarray(self.right[np.arange(len(best)), best], dtype=np.float64)


@lru_cache(maxsize=2)
def _pools(data: WorldData, n: int, sentences: int) -> _StepPools:
    """Return the pools, which are the same under every seed of a study."""
    world, writer = data.world.world, StepWriter(data.world.world, sentences)
    asked = data.world.layout.prompts
    prompts, texts, right = list[str](), list[str](), list[bool]()
    for topic, question in asked.tolist():
        rng = np.random.default_rng([topic, question, 12])
        for _ in range(n):
            steps = writer.response(topic, rng=rng)
            prompts += [world.spec.topics[topic].questions[question]] * sentences
            texts += [" ".join(steps[: j + 1]) for j in range(sentences)]
            right.append(writer.is_right(topic, steps))
    features = encode(prompts, texts, embedder=data.embedder()).features
    offsets = np.arange(0, len(texts) + 1, sentences)
    of_prompt = prompts[:: n * sentences]
    return _StepPools(features, offsets, np.array(right).reshape(len(asked), n), asked[:, 0], of_prompt)


def _annotated(data: WorldData, setting: ExperimentSetting) -> StepTraces:
    """Return training traces with the labels that an annotator gave them: after the first error nothing is right."""
    written, gold = data.world.responses["training"], WorldGold(data.world.world)
    pairs = max(1, (setting.pairs + 1) // 2)
    collected = data.world.collected(setting.mechanism, pairs=pairs, seed=setting.seed).rows
    rng = np.random.default_rng([setting.seed, 10])
    prompts, texts, labels, sizes = list[str](), list[str](), list[float](), list[int]()
    for row in collected.ravel()[: setting.pairs].tolist():
        steps, right = steps_of(gold, written.texts[row])
        error = int(right.sum())  # the first wrong step, or behind the last one
        if rng.random() < setting.flips:
            error = int(rng.integers(len(steps) + 1))
        prompts += [written.prompts[row]] * len(steps)
        texts += [" ".join(steps[: j + 1]) for j in range(len(steps))]
        labels += [1.0 if j < error else 0.0 for j in range(len(steps))]
        sizes.append(len(steps))
    features = encode(prompts, texts, embedder=data.embedder().fleeting).features
    return StepTraces(features, np.append(0, np.cumsum(sizes)), np.array(labels))
