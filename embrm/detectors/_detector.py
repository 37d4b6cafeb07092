"""What every detector is: a recipe that is fitted to reference vectors and then checks outputs."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import Array, IntArray, as_matrix, as_vector
from embrm.core.results import Verdict
from embrm.errors import DataError


class FittedDetector(Protocol):
    """A detector that knows its reference."""

    def check(self, outputs: npt.ArrayLike, *, prompt: npt.ArrayLike | None = None) -> Verdict:
        """Say how suspicious the outputs `(n, k)` are; higher scores are always more suspicious."""


class Detector(Protocol):
    """A recipe for a detector."""

    def fit(self, reference: npt.ArrayLike, *, prompt: npt.ArrayLike | None = None, seed: int = 0) -> FittedDetector:
        """Learn the reference `(m, k)`; `prompt (m,)` keeps rows of one prompt on one side of any split."""


def check_rows(
    x: npt.ArrayLike, prompt: npt.ArrayLike | None, *, name: str, width: int | None = None
) -> tuple[Array, IntArray]:
    """Return the rows `(n, k)` and the prompt of each `(n,)`; without prompts every row is one of its own.

    Raises:
        DataError: there are no rows, they are not finite, or their width is not `width`.
    """
    matrix = as_matrix(x, name=name)
    if len(matrix) == 0:
        raise DataError(f"{name} must have at least one row, got shape {matrix.shape}")
    if width is not None and matrix.shape[1] != width:
        raise DataError(f"{name} must have the reference's {width} columns, got {matrix.shape[1]}")
    if prompt is None:
        return matrix, np.arange(len(matrix))
    return matrix, as_vector(prompt, "prompt", len(matrix), np.int64)


def one_per_prompt(prompt: IntArray, rng: np.random.Generator) -> IntArray:
    """Return one random row of each prompt `(prompts,)`: rows of one prompt are not independent, prompts are."""
    order = rng.permutation(len(prompt))
    return np.asarray(order[np.unique(prompt[order], return_index=True)[1]])
