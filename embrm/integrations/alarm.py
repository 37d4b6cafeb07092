"""What the latents of usual texts say about a policy in training: how far it is from them, and when it has left them.

Fitted detectors hold functions, which pickle refuses: the reference is kept, and the detector fitted where it is used.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import KW_ONLY, InitVar, dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from embrm.core.arrays import Array
from embrm.core.results import Verdict
from embrm.data.texts import Texts, number_prompts
from embrm.detectors import ByClass, Detector, FittedDetector, fit_by_class
from embrm.errors import OptionError
from embrm.monitoring.watch import Rule, first_alarm, usual_rule


class AlarmWarning(UserWarning):
    """What a reader must know before trusting an alarm's numbers."""


@dataclass(eq=False)
class Distance:
    """The scores of a detector of single rows, such as the Mahalanobis distance of InfoRM's IBL.

    Attributes:
        detector: a recipe.
        latents: `(m, k)` of the reference.

    Raises:
        OptionError: the detector judges sets, not rows.
    """

    detector: Detector
    latents: Array

    def __post_init__(self) -> None:
        self._fitted  # noqa: B018 - refused when made

    def __call__(self, latents: Array) -> Array:
        """Return the score of each row `(n, k)`, `(n,)`."""
        return self._fitted.scores(latents)

    @cached_property
    def _fitted(self) -> ByClass:
        return fit_by_class(self.detector, self.latents, seed=0)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_fitted"}


@dataclass(eq=False)
class Alarm:
    """Says when the latents of a policy's texts have left those of a reference.

    It is `embrm.monitoring.watch.watch_run` while the run goes on, and takes rows of one prompt (a group of GRPO) for
    what they are: not independent.

    Attributes:
        detector: a recipe.
        latents: `(m, k)` of the reference's texts.
        reference: these texts: which rows belong to one prompt, and which prompts are known.
        rule: see `embrm.monitoring.watch.first_alarm`; "auto" is the one that suits the detector.
        window: batches that are checked together; more see smaller shifts, later.
        level: chance that the rule "p_value" fires in a run that does not change, however long.
        limit: of the rule "threshold".
        seed: of the detector's splits.
        fired: the number of the batch, from 0, at which the rule fired, or None.

    Raises:
        DataError: the reference is too small for the detector, or not finite.
        OptionError: window or level make no sense, or the reference has too few prompts for the detector's alpha.
    """

    detector: Detector
    latents: Array
    reference: InitVar[Texts]
    _: KW_ONLY
    rule: Rule = "auto"
    window: int = 5
    level: float = 0.01
    limit: float | None = None
    seed: int = 0
    fired: int | None = field(default=None, init=False)

    def __post_init__(self, reference: Texts) -> None:
        if self.window < 1 or not 0 < self.level < 1:
            raise OptionError(
                f"an alarm needs window >= 1 and level inside (0, 1), got {self.window} and {self.level}; correct them"
            )
        if self.rule == "auto":
            self.rule = usual_rule(self.detector)
        self._prompt = number_prompts(reference)[0]
        self._number = dict(zip(reference.prompts, self._prompt.tolist(), strict=True))
        self.forget()
        self._fitted  # noqa: B018 - refused when made

    def forget(self) -> None:
        """Forget all batches, for another run."""
        self.fired = None
        self._rows: list[tuple[Array, list[int]]] = []
        self._statistic: list[float] = []
        self._p_values: list[float | None] = []

    def see(self, latents: Array, prompts: Sequence[str]) -> Verdict:
        """Check the last batches together with these latents `(n, k)`, and set `fired` where the rule says so.

        Raises:
            DataError: the latents are not finite, or not as wide as the reference's.
            OptionError: the rule needs a limit, or p-values, that are not there.
        """
        # New prompts get numbers below zero, which those of the reference never have.
        numbers = [self._number.setdefault(prompt, -1 - len(self._number)) for prompt in prompts]
        self._rows = [*self._rows, (latents, numbers)][-self.window :]
        rows, prompt = (np.concatenate(part) for part in zip(*self._rows, strict=True))
        verdict = self._fitted.check(rows, prompt=prompt)
        if not self._statistic:
            for warning in verdict.warnings:
                warnings.warn(warning, AlarmWarning, stacklevel=2)
        self._statistic.append(verdict.statistic)
        self._p_values.append(verdict.details.get("p_value"))
        if self.fired is None:
            p = None if None in self._p_values else np.array(self._p_values, dtype=np.float64)
            statistic = np.array(self._statistic)
            self.fired = first_alarm(statistic, p, rule=self.rule, limit=self.limit, level=self.level)
        return verdict

    @cached_property
    def _fitted(self) -> FittedDetector:
        return self.detector.fit(self.latents, prompt=self._prompt, seed=self.seed)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_fitted"}
