"""An alarm on a policy in training, which sees the latents of each batch and knows those of reference texts."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import KW_ONLY, InitVar, dataclass, field
from functools import cached_property
from typing import Any

import numpy.typing as npt

from embrm.core.arrays import Array, IntArray
from embrm.core.results import Verdict
from embrm.data.texts import Texts, number_prompts
from embrm.detectors import Detector, FittedDetector
from embrm.monitoring.rule import AlarmRule
from embrm.monitoring.trace import DetectorTrace, Monitor


class AlarmWarning(UserWarning):
    """What a reader must know before trusting an alarm's numbers."""


@dataclass(eq=False)
class Alarm:
    """Says when the latents of a policy's texts have left those of a reference.

    It is `embrm.monitoring.watch_run` while the run goes on, and takes rows of one prompt (a group of GRPO) for what
    they are: not independent. It can be pickled, with the run so far.

    Attributes:
        detector: a recipe.
        latents: `(m, k)` of the reference's texts.
        reference: these texts: which rows belong to one prompt, and which prompts are known.
        rule: when there is an alarm; its window counts batches, and "auto" becomes what suits the detector.
        seed: of the detector's splits.
        fired: the number of the batch, from 0, at which the rule fired, or None.

    Raises:
        DataError: the reference is too small for the detector, or not finite.
        OptionError: the reference has too few prompts for the detector's alpha.
    """

    detector: Detector
    latents: Array
    reference: InitVar[Texts]
    _: KW_ONLY
    rule: AlarmRule = field(default_factory=AlarmRule)
    seed: int = 0
    fired: int | None = field(default=None, init=False)

    def __post_init__(self, reference: Texts) -> None:
        self.rule = self.rule.suited_to(self.detector)
        prompt = number_prompts(reference)[0]
        self._number = dict(zip(reference.prompts, prompt.tolist(), strict=True))
        self._fitted = _Refitted(self.detector, self.latents, prompt, self.seed)
        self.forget()

    def forget(self) -> None:
        """Forget all batches, for another run."""
        self.fired = None
        self._monitor = Monitor(self._fitted, self.rule.window)

    @property
    def trace(self) -> DetectorTrace:
        """What the detector said of the batches so far."""
        return self._monitor.trace

    def see(self, latents: Array, prompts: Sequence[str]) -> Verdict:
        """Check the last batches together with these latents `(n, k)`, and set `fired` where the rule says so.

        Raises:
            DataError: the latents are not finite, or not as wide as the reference's.
            OptionError: the rule needs p-values that are not there.
        """
        # New prompts get numbers below zero, which those of the reference never have.
        numbers = [self._number.setdefault(prompt, -1 - len(self._number)) for prompt in prompts]
        verdict = self._monitor.see(latents, prompt=numbers)
        if len(self._monitor) == 1:
            for warning in verdict.warnings:
                warnings.warn(warning, AlarmWarning, stacklevel=2)
        if self.fired is None:
            trace = self.trace
            self.fired = self.rule.first_alarm(trace.statistic, trace.p_values)
        return verdict


@dataclass(eq=False)
class _Refitted:
    """A detector that is fitted again behind a pickle, which refuses the functions that fitted ones hold."""

    detector: Detector
    latents: Array
    prompt: IntArray
    seed: int

    def __post_init__(self) -> None:
        self._fitted  # noqa: B018 - what cannot be fitted is refused when made

    def check(self, outputs: npt.ArrayLike, *, prompt: npt.ArrayLike | None = None) -> Verdict:
        return self._fitted.check(outputs, prompt=prompt)

    @cached_property
    def _fitted(self) -> FittedDetector:
        return self.detector.fit(self.latents, prompt=self.prompt, seed=self.seed)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_fitted"}
