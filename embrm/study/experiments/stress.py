"""How heads and rules stand stress: changed texts that they accept, and preferences that turn when vectors move."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from embrm import heads, selectors
from embrm.core.arrays import Array
from embrm.core.registry import register
from embrm.errors import OptionError
from embrm.evaluation.stress import StressReport, StressTexts, stress
from embrm.study.experiments._experiment import Experiment, ExperimentSetting, PerPrompt

DRESSED = ("padding", "flattery", "repetition")  # changes that dress an answer up, and leave what it says as it was
# Head and its options → name of what is measured → the rule whose values are looked at.
CONTESTANTS: tuple[tuple[str, Mapping[str, int], Mapping[str, str]], ...] = (
    ("mlp", {}, {"standard": "mean"}),
    ("linear", {}, {"linear": "mean"}),
    ("mlp", {"members": 5}, {"ensemble": "mean", "worst case": "worst_case", "lower bound": "lower_bound"}),
    ("inform", {}, {"bottleneck": "mean"}),
    ("warm", {}, {"weight averaging": "mean"}),
)


@register
@dataclass(frozen=True, kw_only=True)
class Stress(Experiment):
    """What share of dressed-up texts heads and rules accept, and how often moves of vectors turn their preferences.

    Every head learns from the same pairs with its default options, and judges the same two answers of π_ref to each
    prompt, so that all of it is paired. See `embrm.evaluation.stress`, which also says what of the papers is left out.

    Attributes:
        prompts: at most so many, evenly among the data set's.
        radius, draws: of the moves of vectors.
    """

    kinds: ClassVar[tuple[str, ...]] = ("fast", "world", "pool")
    core_seconds: ClassVar[float] = 20.0

    prompts: int = 104
    radius: float = 0.25
    draws: int = 40

    def __post_init__(self) -> None:
        if self.prompts < 2:
            raise OptionError(f"stress needs at least 2 prompts, got {self.prompts}")

    def measure(self, setting: ExperimentSetting) -> Mapping[str, PerPrompt]:
        """Return for each contestant `NAME accepted`, a mean over probes and texts, and `NAME flips`."""
        texts, pairs = self._texts(setting), setting.training()
        clusters = texts.cluster[texts.pairs[:, 0]]
        found: dict[str, Array] = {}
        for head, options, rules in CONTESTANTS:
            model = heads.get(head)(**options).fit(pairs, seed=setting.seed)
            for name, rule in rules.items():
                report = stress(
                    model,
                    texts,
                    embedder=setting.data.embedder(),
                    rule=selectors.get(rule)(),
                    radius=self.radius,
                    draws=self.draws,
                )
                found[f"{name} accepted"] = _accepted(report, texts)
                assert report.flips is not None
                found[f"{name} flips"] = report.flips.flips
        return {name: PerPrompt(values, clusters) for name, values in found.items()}

    def _texts(self, setting: ExperimentSetting) -> StressTexts:
        """Return the first two different answers of the pools to some prompts, the same under every seed."""
        data, ends = setting.data, setting.data.pool_offsets
        chosen = np.unique(np.linspace(0, len(ends) - 2, min(self.prompts, len(ends) - 1)).astype(np.int64))
        rows: list[int] = []
        for i in chosen.tolist():
            pool = data.pool_rows[ends[i] : ends[i + 1]]
            written = [said for _, said in data.written(pool)]
            second = next((j for j, said in enumerate(written) if said != written[0]), None)
            rows += [] if second is None else [pool[0], pool[second]]
        at = np.array(rows, dtype=np.int64)
        prompts, responses = zip(*data.written(at), strict=True)
        return StressTexts(list(prompts), list(responses), np.arange(len(at)) // 2, data.cluster(at))


def _accepted(report: StressReport, texts: StressTexts) -> Array:
    """Return the mean over what was changed `(prompts,)` of whether it was accepted."""
    table = np.stack([report.probes[name].accepted for name in DRESSED])
    return np.asarray(np.nanmean(table[:, texts.pairs], axis=(0, 2)))
