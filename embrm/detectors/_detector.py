"""What every detector is: a recipe that is fitted to reference vectors and then checks outputs."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import Array, IntArray, as_matrix, as_vector
from embrm.core.results import Verdict
from embrm.errors import DataError


class FittedDetector(Protocol):
    """A detector that knows its reference: all that checks of outputs and monitors of runs need."""

    def check(self, outputs: npt.ArrayLike, *, prompt: npt.ArrayLike | None = None) -> Verdict:
        """Say how suspicious the outputs are, as a set and each of them; higher is always more suspicious.

        `details["p_value"]` is that of the whole set, where the method has one.

        Args:
            outputs: `(n, k)`, as wide as the reference.
            prompt: `(n,)` which prompt each row answers, in the numbers of the reference; without it every row is one
                of its own.

        Raises:
            DataError: there are no outputs, they are not finite, or not as wide as the reference.
        """


class Detector(Protocol):
    """A recipe for a detector: a frozen dataclass of options, whose `fit` changes nothing in it.

    `CalibratedDetector` and `PermutationDetector` are recipes of which only the score, or the statistic, is missing.
    """

    def fit(self, reference: npt.ArrayLike, *, prompt: npt.ArrayLike | None = None, seed: int = 0) -> FittedDetector:
        """Learn what is usual.

        Args:
            reference: `(m, k)`.
            prompt: `(m,)` which prompt each row answers: rows of one prompt stay on one side of any split.
            seed: of splits and whatever else is drawn.

        Raises:
            DataError: the reference is empty, not finite, or too small for the method.
        """


def check_rows(
    x: npt.ArrayLike, prompt: npt.ArrayLike | None, *, name: str, width: int | None = None
) -> tuple[Array, IntArray]:
    """Return the rows `(n, k)` and the prompt of each `(n,)`; without prompts every row is one of its own.

    Raises:
        DataError: there are no rows, they are not finite, or their width is not `width`.

    Examples:
        >>> check_rows([[1.0, 2.0], [3.0, 4.0]], None, name="reference")[1]
        array([0, 1])
    """
    matrix = as_matrix(x, name=name)
    if len(matrix) == 0:
        raise DataError(f"{name} must have at least one row, got shape {matrix.shape}")
    if width is not None and matrix.shape[1] != width:
        raise DataError(f"{name} must have the reference's {width} columns, got {matrix.shape[1]}")
    if prompt is None:
        return matrix, np.arange(len(matrix))
    return matrix, as_vector(prompt, "prompt", len(matrix), np.int64)


def in_units(x: Array, unit: float) -> Array:
    """Return the rows divided by a unit of `unit_of`, in float64; the same rows where it is 1."""
    return x if unit == 1 else np.asarray(x.astype(np.float64) / unit)


def unit_of(*parts: Array) -> float:
    """Return a power of two in which no square of the rows `(n, k)` vanishes or overflows, 1 where none would anyway.

    Examples:
        >>> unit_of(np.array([[0.5, -300.0]])), unit_of(np.array([[1e-30]])) < 1e-29
        (1.0, True)
    """
    largest = max(float(np.abs(x).max()) for x in parts)
    return 1.0 if largest == 0 or 1e-6 <= largest <= 1e6 else float(2.0 ** np.floor(np.log2(largest)))


def finite(name: str, *values: npt.ArrayLike) -> None:
    """Raise DataError, naming the detector, where one of its numbers is not finite: they would pass for an alarm."""
    if not all(np.isfinite(x).all() for x in values):
        raise DataError(
            f"'{name}' finds no finite number for these rows; they may be too large, too small or too alike to be "
            "compared: pass them in other units, or check what made them"
        )


def one_per_prompt(prompt: IntArray, rng: np.random.Generator) -> IntArray:
    """Return one random row of each prompt `(prompts,)`: rows of one prompt are not independent, prompts are.

    Examples:
        >>> rows = one_per_prompt(np.array([7, 7, 7, 9]), np.random.default_rng(0))
        >>> bool(rows[0] in (0, 1, 2)), int(rows[1])
        (True, 3)
    """
    order = rng.permutation(len(prompt))
    return np.asarray(order[np.unique(prompt[order], return_index=True)[1]])
