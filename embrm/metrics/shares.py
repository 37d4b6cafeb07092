"""Shares of yes and no with intervals that hold at none and at all, also where the units are not independent."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import as_vector
from embrm.errors import DataError
from embrm.metrics.intervals import Interval


def share(hits: npt.ArrayLike, *, cluster: npt.ArrayLike | None = None, level: float = 0.95) -> Interval:
    """Return the mean of what is 0 or 1, or between them, with Wilson's interval (1927).

    Clusters enter by the design effect (Kish 1965): the interval is that of so many independent units as would have the
    variance that is seen between clusters, by the quantile of Student's law for so many of them; never more than there
    are units, and where all are alike, so that nothing is seen, as many as there are clusters.

    Args:
        hits: `(n,)` numbers in [0, 1].
        cluster: `(n,)` which units are not independent of each other, such as the texts of one prompt; None: all are.
        level: nominal coverage.

    Raises:
        DataError: there is no unit, or a number is outside [0, 1].

    Examples:
        >>> found = share([1, 0, 0, 0])
        >>> float(found.estimate), round(float(found.low), 3), round(float(found.high), 3)
        (0.25, 0.046, 0.699)
        >>> round(float(share([0] * 100).high), 3), round(float(share([0] * 100, cluster=[0, 1] * 50).high), 3)
        (0.037, 0.658)
    """
    from scipy.special import ndtri, stdtrit

    x = as_vector(hits, "hits", np.size(hits), np.float64)
    if not len(x) or not ((x >= 0) & (x <= 1)).all():
        raise DataError("a share is one of at least one number in [0, 1]; give 0 for no and 1 for yes")
    p, n, z = float(x.mean()), float(len(x)), float(ndtri((1 + level) / 2))
    if cluster is not None:
        _, number = np.unique(as_vector(cluster, "cluster", len(x), np.int64), return_inverse=True)
        deviation = np.bincount(number, weights=x - p).astype(np.float64)
        if len(deviation) == 1 or min(p, 1 - p) < 1e-12:  # nothing is seen of how clusters differ
            n = float(len(deviation))
        else:
            n, z = _independent(deviation, p, n), float(stdtrit(len(deviation) - 1, (1 + level) / 2))
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(max(p * (1 - p), 0.0) / n + z**2 / (4 * n**2))
    low, high = max(0.0, min(centre - half, p)), min(1.0, max(centre + half, p))  # roundings are no result
    return Interval(np.asarray(p), np.asarray(low), np.asarray(high), len(x), level)


def _independent(deviation: npt.NDArray[np.float64], p: float, n: float) -> float:
    """Return how many independent units have the variance of the mean that clusters' sums of deviations show."""
    clusters = len(deviation)
    seen = float((deviation**2).sum()) / n**2 * clusters / (clusters - 1)
    return float(clusters) if seen <= 0 else min(n, p * (1 - p) / seen)
