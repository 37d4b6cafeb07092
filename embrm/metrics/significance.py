"""Two-sided p-values of bootstrap draws, and their correction where several comparisons are made at once."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import Array


def share_against(against: npt.ArrayLike) -> float:
    """Return the share of bootstrap draws that speak against a statement, its one-sided p-value.

    It is never 0, as draws are finitely many: one is added to both counts (Davison & Hinkley 1997, section 4.2).

    Args:
        against: `(b,)` True for each draw that does.
    """
    draws = np.asarray(against, dtype=np.bool_)
    return (1 + int(draws.sum())) / (1 + len(draws))


def bootstrap_p(against: npt.ArrayLike) -> float:
    """Return the two-sided p-value of a sign: twice the share of the draws that speak against it.

    Args:
        against: see `share_against`.

    Examples:
        >>> bootstrap_p([False] * 1999)
        0.001
    """
    return min(2 * share_against(against), 1.0)


def holm_adjusted(p: npt.ArrayLike) -> Array:
    """Return p-values `(k,)` after Holm's step-down correction (Holm 1979): those below α hold together at level α.

    The smallest is multiplied by k, the next by k − 1 and so on; none becomes smaller than one before it, or above 1.

    Examples:
        >>> holm_adjusted([0.04, 0.01, 0.03]).round(6).tolist()
        [0.06, 0.03, 0.06]
    """
    values = np.asarray(p, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    steps = np.maximum.accumulate(values[order] * np.arange(len(values), 0, -1))
    out = np.empty_like(values)
    out[order] = np.minimum(steps, 1.0)
    return out
