"""Permutation tests between a set of outputs and a set of reference rows, shared by the detectors of whole sets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import Array, BoolArray, IntArray
from embrm.core.progress import tracked
from embrm.core.results import Verdict
from embrm.core.threads import one_thread
from embrm.detectors._detector import check_rows, finite, one_per_prompt
from embrm.errors import DataError, OptionError

BATCH = 128  # permutations that are compared at once


@dataclass(frozen=True, eq=False)
class SetStatistic:
    """How two sets differ: what `PermutationDetector.compare` returns.

    Attributes:
        statistic: takes masks `(b, n + m)` of who counts as output among outputs and reference, in this order, and
            gives `(b,)`; the larger, the more the two sets differ.
        scores: one of each output that was asked about, higher more suspicious.
        details: further numbers (JSON-ready).
    """

    statistic: Callable[[BoolArray], Array]
    scores: Array
    details: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class PermutationDetector(ABC):
    """A recipe that tests one row of each prompt of the outputs against one row of each prompt of the reference.

    A detector of whole sets derives from it and says only how two sets differ: `compare` returns a `SetStatistic`.
    Which rows are exchanged, paired where both sides answer one prompt, and the p-value are there already.

    Attributes:
        alpha: level of the set's test; `details["p_value"]` at or below it is an alarm.
        rounds: permutations.
        rows: most rows (one a prompt) of either side that are compared.
    """

    alpha: float = 0.05
    rounds: int = 999
    rows: int = 2000

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise OptionError(f"alpha must be inside (0, 1), got {self.alpha}")
        if self.alpha * (self.rounds + 1) < 1 - 1e-9:
            raise OptionError(
                f"alpha {self.alpha} is below 1/(rounds + 1), the smallest p-value that rounds={self.rounds} can give; "
                "use more rounds"
            )
        if self.rows < 2:
            raise OptionError(f"rows must be at least 2, got {self.rows}")

    @abstractmethod
    def compare(self, x: Array, *, outputs: Array, reference: Array) -> SetStatistic:
        """Say how the outputs differ from the reference.

        Args:
            x: `(l, k)` all rows that were asked about, which get scores.
            outputs: `(n, k)` one of `x` for each prompt, at most `rows` of them.
            reference: `(m, k)` likewise.
        """

    @one_thread
    def fit(self, reference: npt.ArrayLike, *, prompt: npt.ArrayLike | None = None, seed: int = 0) -> FittedPermutation:
        """Keep one row of each prompt of the reference `(m, k)`.

        Raises:
            DataError: these rows are all equal.
        """
        x, prompts = check_rows(reference, prompt, name="reference")
        kept = _single(prompts, most=self.rows, seed=seed)
        if not np.ptp(x[kept], axis=0).any():
            raise DataError(
                f"the {len(kept)} reference rows (one a prompt) are all equal; pass differing rows of several prompts"
            )
        return FittedPermutation(self, x[kept], None if prompt is None else prompts[kept], seed)


@dataclass(frozen=True, eq=False)
class FittedPermutation:
    """One row `(m, k)` of each reference prompt `(m,)`."""

    recipe: PermutationDetector
    reference: Array
    prompts: IntArray | None
    seed: int

    @one_thread
    def check(self, outputs: npt.ArrayLike, *, prompt: npt.ArrayLike | None = None) -> Verdict:
        """Test the outputs `(n, k)`; where both sides answer the same prompts, the pairs are exchanged.

        Raises:
            DataError: there are no outputs, their width is not the reference's, or the statistic is not finite.
        """
        from embrm.detectors._registry import registry

        x, prompts = check_rows(outputs, prompt, name="outputs", width=self.reference.shape[1])
        kept = _single(prompts, most=self.recipe.rows, seed=self.seed)
        name, details = registry.name_of(self.recipe), {"rows": len(kept)}
        if len(kept) < 2:
            warning = "the outputs answer one prompt: a single row cannot be tested against the reference"
            return Verdict(name, 0.0, np.zeros(len(x)), details=details, warnings=(warning,))
        own = other = np.empty(0, dtype=np.int64)
        if prompt is not None and self.prompts is not None:
            _, own, other = np.intersect1d(prompts[kept], self.prompts, return_indices=True)
        rng = np.random.default_rng(self.seed)
        masks = _masks(len(kept), len(self.reference), own, len(kept) + other, rounds=self.recipe.rounds, rng=rng)
        comparison = self.recipe.compare(x, outputs=x[kept], reference=self.reference)
        parts = [masks[start : start + BATCH] for start in range(0, len(masks), BATCH)]
        values = np.concatenate([comparison.statistic(part) for part in tracked(parts, "permutations")])
        finite(name, values, comparison.scores)
        # Splits that are the same set of rows may differ by rounding.
        p_value = float(np.mean(values >= values[0] - 1e-9 * np.abs(values).max()))
        details |= comparison.details | {"p_value": p_value}
        return Verdict(name, float(values[0]), comparison.scores, alpha=self.recipe.alpha, details=details)


def _single(prompts: IntArray, *, most: int, seed: int) -> IntArray:
    rng = np.random.default_rng(seed)
    return rng.permutation(one_per_prompt(prompts, rng))[:most]


def _masks(n: int, m: int, own: IntArray, other: IntArray, *, rounds: int, rng: np.random.Generator) -> BoolArray:
    """Return who counts as output, `(rounds + 1, n + m)`: first the truth, then exchanges that no change would allow.

    Rows of a prompt that both sides have change places with each other, all others with all others.
    """
    truth = np.arange(n + m) < n
    masks = np.tile(truth, (rounds + 1, 1))
    swap = rng.random((rounds, len(own))) < 0.5
    masks[1:, own] = ~swap
    masks[1:, other] = swap
    free = np.setdiff1d(np.arange(n + m), np.concatenate([own, other]))
    masks[1:, free] = rng.permuted(np.tile(truth[free], (rounds, 1)), axis=1)
    return masks
