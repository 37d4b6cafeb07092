"""What every detector is: a recipe that is fitted to reference vectors and then checks outputs."""

from __future__ import annotations

from typing import Protocol

import numpy.typing as npt

from embrm.outcomes import Verdict


class FittedDetector(Protocol):
    """A detector that knows its reference."""

    def check(self, outputs: npt.ArrayLike, *, prompt: npt.ArrayLike | None = None) -> Verdict:
        """Say how suspicious the outputs `(n, k)` are; higher scores are always more suspicious."""


class Detector(Protocol):
    """A recipe for a detector."""

    def fit(self, reference: npt.ArrayLike, *, prompt: npt.ArrayLike | None = None, seed: int = 0) -> FittedDetector:
        """Learn the reference `(m, k)`; `prompt (m,)` keeps rows of one prompt on one side of any split."""
