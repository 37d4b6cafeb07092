"""How many preference labels are flipped, judged by margins that the labels did not train."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.special import expit, logit

from embrm.core.arrays import Array
from embrm.errors import DataError


class FlipRate(NamedTuple):
    """Maximum-likelihood share of flipped labels, the scale of the margins fitted with it, and their mean NLL."""

    rate: float
    scale: float
    nll: float


def estimate_flip_rate(margins: npt.ArrayLike, *, weight: npt.ArrayLike | None = None) -> FlipRate:
    """Estimate the share ε of labels flipped at random from held-out margins.

    Maximises Σ log[(1 − ε) σ(a z) + ε σ(−a z)] over ε in [0, 1/2) and the scale a > 0 of the margins. What tells
    flips from a flat reward is that the accuracy levels off at 1 − ε where margins are large, so the estimate is as
    good as the margins are wide: where all are near 0, ε and a cannot be told apart and ε comes out small.

    Args:
        margins: `(n,)` r_chosen − r_rejected of pairs of prompts that the reward was not trained on.
        weight: `(n,)` weights of the pairs; 0 leaves one out (a tie has no label).

    Raises:
        DataError: there are no margins of positive weight, or they are not finite.
    """
    z = np.asarray(margins, dtype=np.float64)
    w = np.ones_like(z) if weight is None else np.asarray(weight, dtype=np.float64)
    if z.ndim != 1 or w.shape != z.shape or not w.sum() > 0 or not np.isfinite(z).all():
        raise DataError(f"margins must be finite (n,) with weights of positive sum, got shapes {z.shape}, {w.shape}")
    z = z / max(float(np.abs(z).mean()), 1e-12)

    def nll(parameters: Array) -> float:
        rate, right = 0.5 * expit(parameters[0]), expit(np.exp(parameters[1]) * z)
        return -float(np.average(np.log(np.maximum((1 - rate) * right + rate * (1 - right), 1e-300)), weights=w))

    starts = [(logit(2 * rate), scale) for rate in (0.02, 0.2, 0.4) for scale in (0.0, 1.5)]
    bounds = [(-12.0, 12.0), (-6.0, 6.0)]
    best = min((minimize(nll, s, bounds=bounds, method="L-BFGS-B") for s in starts), key=lambda r: float(r.fun))
    return FlipRate(float(0.5 * expit(best.x[0])), float(np.exp(best.x[1])), float(best.fun))
