"""P-values for numbers that were made elsewhere."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import Array
from embrm.core.registry import register
from embrm.core.results import Verdict
from embrm.core.threads import one_thread
from embrm.detectors._calibrated import CalibratedDetector, ConformalScores, FittedCalibrated, LearntScore
from embrm.detectors._detector import check_rows
from embrm.errors import OptionError


@register
@dataclass(frozen=True, kw_only=True)
class Conformal(CalibratedDetector):
    """Conformal p-values for a number per output made elsewhere: disagreement, energy, length.

    The numbers `(n,)` or `(n, 1)` take the place of the vectors; larger ones are more suspicious. Nothing is learnt,
    so every prompt of the reference calibrates.

    Examples:
        >>> from embrm import detectors
        >>> fitted = detectors.get("conformal")(alpha=0.1).fit(range(1, 20))
        >>> fitted.check([10.5, 18.5, 99.0]).p_values  # (1 + how many of the 19 are at least as large)/20
        array([0.5 , 0.1 , 0.05])
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha is None:
            raise OptionError("conformal only adds p-values, so alpha must be a number inside (0, 1), got None")

    def learn(self, x: Array, *, seed: int) -> LearntScore:
        """Take the numbers as they are."""
        return LearntScore(lambda rows: rows[:, 0])

    @one_thread
    def fit(self, reference: npt.ArrayLike, *, prompt: npt.ArrayLike | None = None, seed: int = 0) -> FittedConformal:
        """Keep the numbers `(m,)` or `(m, 1)` of the reference, one of each prompt.

        Raises:
            DataError: they are empty, not finite, or more than one per row.
            OptionError: alpha is smaller than the prompts allow.
        """
        x, rows = check_rows(_column(reference), prompt, name="reference", width=1)
        assert self.alpha is not None
        calibration = ConformalScores.of(x[:, 0], rows, alpha=self.alpha, rng=np.random.default_rng(seed))
        return FittedConformal(self, self.learn(x, seed=seed), calibration, 1, rows[:0], seed)


@dataclass(frozen=True, eq=False)
class FittedConformal(FittedCalibrated):
    """The reference's numbers."""

    @one_thread
    def check(self, outputs: npt.ArrayLike, *, prompt: npt.ArrayLike | None = None) -> Verdict:
        """Return the p-values of the numbers `(n,)` or `(n, 1)`."""
        return super().check(_column(outputs), prompt=prompt)


def _column(x: npt.ArrayLike) -> npt.NDArray[np.generic]:
    values = np.asarray(x)
    return values[:, None] if values.ndim == 1 else values
