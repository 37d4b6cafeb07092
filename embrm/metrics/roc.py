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
    x, mask = _labelled(scores, positive)
    return float(aurocs(x[None], mask[None], among=np.ones((1, len(x)), dtype=bool))[0])


def aurocs(scores: Array, positive: BoolArray, *, among: BoolArray) -> Array:
    """Return `auroc` of each row `(r,)`, NaN where a row has no positives or no negatives.

    Args:
        scores: `(r, n)`.
        positive: `(r, n)`.
        among: `(r, n)` which entries count, all positives among them.

    Examples:
        >>> flags = np.array([[False, False, True, True], [False, False, False, False]])
        >>> aurocs(np.array([[0.1, 0.4, 0.35, 0.8]] * 2), flags, among=np.ones((2, 4), dtype=bool))
        array([0.75,  nan])
    """
    from scipy.stats import rankdata

    ranks = rankdata(np.where(among, scores, np.inf), axis=1)
    n, m = positive.sum(axis=1), (among & ~positive).sum(axis=1)
    above = (ranks * positive).sum(axis=1) - n * (n + 1) / 2
    return np.asarray(np.divide(above, n * m, out=np.full(len(scores), np.nan), where=n * m > 0))


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
