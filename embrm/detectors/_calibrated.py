"""Conformal calibration by prompt, shared by every detector that scores rows one at a time."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.stats import mannwhitneyu

from embrm.core.arrays import Array, BoolArray, IntArray
from embrm.core.results import Verdict
from embrm.core.threads import one_thread
from embrm.detectors._detector import FittedDetector, check_rows, finite, one_per_prompt
from embrm.errors import OptionError


@dataclass(frozen=True, eq=False)
class LearntScore:
    """What `CalibratedDetector.learn` returns.

    Attributes:
        score: takes rows `(n, k)` and gives `(n,)` numbers, higher more suspicious. It must treat every row by itself:
            the p-values hold only where a row's score does not depend on the rows beside it.
        details: further numbers of the method, which every verdict repeats (JSON-ready).
        warnings: what a reader must know before trusting the scores.
    """

    score: Callable[[Array], Array]
    details: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class ConformalScores:
    """Sorted scores `(n,)` of one random row of each calibration prompt.

    A test row of a new prompt is exchangeable with one row of each of `n` prompts, so its p-value is uniform on
    {1/(n + 1), ..., 1}, whatever the dependence inside a prompt (single subsampling of Dunn, Wasserman and Ramdas,
    1809.07441). Weighing all rows of a prompt is valid too (2306.06342), but flags far fewer than alpha.
    """

    scores: Array

    @classmethod
    def of(cls, scores: Array, prompt: IntArray, *, alpha: float, rng: np.random.Generator) -> ConformalScores:
        """Calibrate on scores `(m,)` whose rows belong to the prompts `(m,)`.

        Raises:
            OptionError: alpha is below the smallest p-value, 1/(n + 1).
        """
        kept = np.sort(scores[one_per_prompt(prompt, rng)])
        if alpha * (len(kept) + 1) < 1 - 1e-9:
            raise OptionError(
                f"alpha {alpha} is below 1/(n + 1) = {1 / (len(kept) + 1):.4f}, the smallest p-value that n = "
                f"{len(kept)} calibration prompts can give; use a larger alpha or at least {_prompts(1, alpha)} prompts"
            )
        return cls(kept)

    def p_values(self, scores: Array) -> Array:
        """Return `(n,)` p-values (1 + #{calibration >= score})/(n + 1)."""
        n = len(self.scores)
        return (1 + n - np.searchsorted(self.scores, scores, side="left")) / (n + 1)


def _prompts(rank: int, alpha: float) -> int:
    """Fewest calibration prompts with which `rank` of n + 1 equally likely p-values are at most alpha."""
    return math.ceil(rank / alpha - 1e-9) - 1


def split_by_prompt(prompt: IntArray, *, alpha: float, rng: np.random.Generator) -> BoolArray:
    """Return a mask `(m,)` of the calibration rows: about half of the prompts.

    Of the numbers near half, the largest for which alpha (n + 1) is whole is taken where there is one: a clean row is
    then flagged with probability alpha, and not with the next smaller multiple of 1/(n + 1).

    Raises:
        OptionError: half of the prompts are too few for alpha.
    """
    prompts = np.unique(prompt)
    half = len(prompts) // 2
    rank = math.floor((half + 1) * alpha + 1e-9)
    if rank == 0:
        raise OptionError(
            f"alpha {alpha} is below 1/(n + 1) = {1 / (half + 1):.4f}, the smallest p-value that n = {half} "
            f"calibration prompts (half of the reference's {len(prompts)}) can give; use a larger alpha, a reference "
            f"with at least {2 * _prompts(1, alpha)} prompts, or alpha=None for scores without p-values"
        )
    return np.isin(prompt, rng.permutation(prompts)[: _prompts(rank, alpha)])


@dataclass(frozen=True, kw_only=True)
class CalibratedDetector(ABC):
    """A recipe that learns on one half of the reference's prompts and takes p-values from the other.

    A detector of single rows derives from it and says only what it learns: `learn` returns a `LearntScore`. Splits by
    prompt, conformal p-values of rows, a p-value of the set and `alpha=None` are there already.

    Attributes:
        alpha: nominal share of clean outputs (of new prompts) that may be flagged; None learns on the whole reference
            and gives scores without p-values.
    """

    alpha: float | None = 0.05

    def __post_init__(self) -> None:
        if self.alpha is not None and not 0 < self.alpha < 1:
            raise OptionError(f"alpha must be inside (0, 1) or None, got {self.alpha}")

    @abstractmethod
    def learn(self, x: Array, *, seed: int) -> LearntScore:
        """Learn what is usual from rows `(m, k)` that no p-value is taken from, and return the score of other rows.

        Args:
            x: one half of the reference, by prompts; all of it where `alpha` is None.
            seed: of whatever is drawn; global generators stay untouched.
        """

    def statistic(self, scores: Array, flagged: BoolArray | None) -> float:
        """Return the one number for the whole set: the mean score."""
        return float(np.mean(scores))

    @one_thread
    def fit(self, reference: npt.ArrayLike, *, prompt: npt.ArrayLike | None = None, seed: int = 0) -> FittedDetector:
        """Learn the reference `(m, k)`; no prompt of `prompt (m,)` stands on both sides of the split.

        Raises:
            DataError: the reference is empty or not finite.
            OptionError: alpha is smaller than the calibration prompts allow.
        """
        x, rows = check_rows(reference, prompt, name="reference")
        if self.alpha is None:
            return FittedCalibrated(self, self.learn(x, seed=seed), None, x.shape[1], rows[:0], seed)
        rng = np.random.default_rng(seed)
        held = split_by_prompt(rows, alpha=self.alpha, rng=rng)
        scorer = self.learn(x[~held], seed=seed)
        usual = scorer.score(x[held])
        finite(type(self).__name__.lower(), usual)
        calibration = ConformalScores.of(usual, rows[held], alpha=self.alpha, rng=rng)
        learnt = rows[:0] if prompt is None else np.unique(rows[~held])
        return FittedCalibrated(self, scorer, calibration, x.shape[1], learnt, seed)


@dataclass(frozen=True, eq=False)
class FittedCalibrated:
    """A detector with its calibration: `learnt` are the prompts whose rows it was fitted to, where they were given."""

    recipe: CalibratedDetector
    scorer: LearntScore
    calibration: ConformalScores | None
    width: int
    learnt: IntArray
    seed: int

    @one_thread
    def check(self, outputs: npt.ArrayLike, *, prompt: npt.ArrayLike | None = None) -> Verdict:
        """Score the outputs `(n, k)`; `details["p_value"]` is the whole set's, from ranks of one row a prompt; that of
        a single output is its own.

        Raises:
            DataError: there are no outputs, their width is not the reference's, or a score is not finite.
        """
        from embrm.detectors._registry import registry

        x, rows = check_rows(outputs, prompt, name="outputs", width=self.width)
        scores = np.asarray(self.scorer.score(x), dtype=np.float64)
        name, details, warnings = registry.name_of(self.recipe), dict(self.scorer.details), list(self.scorer.warnings)
        finite(name, scores)
        alpha = self.recipe.alpha
        if self.calibration is None or alpha is None:
            return Verdict(name, self.recipe.statistic(scores, None), scores, details=details, warnings=tuple(warnings))
        if prompt is not None and (seen := int(np.isin(rows, self.learnt).sum())):
            told = f"{seen} of {len(x)} outputs answer prompts that the detector learnt; its p-values hold for others"
            warnings.append(told)
        p_values = self.calibration.p_values(scores)
        flagged = p_values <= alpha
        single = scores[one_per_prompt(rows, np.random.default_rng(self.seed))]
        details |= {
            "calibration_prompts": len(self.calibration.scores),
            "p_value": _set_p_value(single, self.calibration.scores) if len(x) > 1 else float(p_values[0]),
        }
        statistic = self.recipe.statistic(scores, flagged)
        return Verdict(name, statistic, scores, p_values, flagged, alpha, details, tuple(warnings))


def _set_p_value(scores: Array, reference: Array) -> float:
    if np.ptp(np.concatenate([scores, reference])) == 0:
        return 1.0  # all tied: scipy divides by zero
    return float(mannwhitneyu(scores, reference, alternative="greater").pvalue)
