"""How well scores tell positives from negatives."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import Array, BoolArray, as_vector, step_vector
from embrm.errors import DataError, OptionError


def auroc(scores: npt.ArrayLike, positive: npt.ArrayLike) -> float:
    """Return the probability that a positive scores above a negative, ties counting half.

    Args:
        scores: `(n,)`.
        positive: `(n,)` booleans, some of each kind.

    Raises:
        DataError: there are no positives or no negatives.

    Examples:
        >>> auroc([0.1, 0.4, 0.35, 0.8], [False, False, True, True])
        0.75
    """
    from scipy.stats import rankdata

    x, mask = _labelled(scores, positive)
    n = int(mask.sum())
    return float((rankdata(x)[mask].sum() - n * (n + 1) / 2) / (n * (len(x) - n)))


def true_positive_rate(scores: npt.ArrayLike, positive: npt.ArrayLike, *, rate: float) -> float:
    """Return the share of positives above the lowest level that at most the share `rate` of negatives exceeds.

    Args:
        scores: `(n,)`.
        positive: `(n,)` booleans, some of each kind.
        rate: false-positive rate, inside [0, 1).

    Raises:
        DataError: there are no positives or no negatives.
        OptionError: rate is outside [0, 1).

    Examples:
        >>> true_positive_rate([0.1, 0.4, 0.35, 0.8], [False, False, True, True], rate=0.0)
        0.5
    """
    if not 0 <= rate < 1:
        raise OptionError(f"rate must be inside [0, 1), got {rate}")
    x, mask = _labelled(scores, positive)
    negative = np.sort(x[~mask])[::-1]
    return float(np.mean(x[mask] > negative[int(rate * len(negative) + 1e-9)]))


def _labelled(scores: npt.ArrayLike, positive: npt.ArrayLike) -> tuple[Array, BoolArray]:
    x = step_vector(scores)
    mask = as_vector(positive, "positive", len(x), np.bool_)
    if not mask.any() or mask.all():
        raise DataError(f"positives and negatives are both needed, got {int(mask.sum())} positives of {len(x)}")
    return x, mask
