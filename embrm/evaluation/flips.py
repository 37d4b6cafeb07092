"""How often a random perturbation of vectors turns a preference: counted, and estimated where none was seen to turn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import Array, BoolArray, IntArray
from embrm.core.data import Features
from embrm.errors import DataError, OptionError
from embrm.metrics.intervals import Interval
from embrm.metrics.shares import share

Value: TypeAlias = Callable[[Features], Array]
_ROWS = 2**14  # perturbed rows that are in memory at once
_CRITICAL = 0.752  # of the Anderson–Darling statistic of a normal with both moments estimated, at 5 % (Stephens 1986)


@dataclass(frozen=True, eq=False)
class FlipReport:
    """How often perturbations turn the preference between two texts.

    Attributes:
        radius: of the ball, in medians of the distance between the two texts of a pair.
        draws: perturbations of each pair.
        share: of all perturbations that turned the preference, with its interval over the pairs.
        flips: `(n,)` share of each pair's; NaN where its two texts have equal values, so that nothing can turn.
        tail: `(n,)` RoMA's estimate of each pair's probability where no perturbation turned it; NaN where some did, or
            where the margins pass for normal neither as they are nor after a Box–Cox transform.
    """

    radius: float
    draws: int
    share: Interval
    flips: Array
    tail: Array

    @property
    def firm(self) -> BoolArray:
        """Which pairs no perturbation turned, `(n,)`."""
        return np.asarray(self.flips == 0)

    @property
    def probability(self) -> float:
        """Mean probability of a flip, that of pairs which none turned by the estimate where there is one, else 0."""
        return float(np.nanmean(np.where(self.firm, np.nan_to_num(self.tail), self.flips)))


def flip_report(
    value: Value,
    features: Features,
    pairs: IntArray,
    *,
    radius: float = 0.25,
    draws: int = 200,
    cluster: npt.ArrayLike | None = None,
    seed: int,
) -> FlipReport:
    """Perturb the vectors of pairs of texts at random, and count how often the preference between the two turns.

    Every view's vector moves to a point that is uniform in a ball around it, of a radius in units of the median
    distance between the two vectors of a pair in that view; both vectors of a pair move, independently. Where no draw
    turns the preference, its probability is that of the tail of a normal distribution fitted to the margins (RoMA,
    2110.11088, as 2504.17723 uses it): to them as they are, or if the Anderson–Darling test refuses that at 5 %, to the
    Box–Cox transform of the odds of the wrong preference. The papers perturb tokens' embeddings inside a language
    model; here the frozen vector of the whole text moves, and what would change before it is left out.

    Args:
        value: the value `(m,)` of each text.
        features: `m` texts.
        pairs: `(n, 2)` rows of them.
        radius: see above.
        draws: perturbations of each pair.
        cluster: `(n,)` which pairs are not independent of each other; None: all are.
        seed: of the perturbations.

    Raises:
        OptionError: the radius is not positive, or there are fewer than 20 draws.
        DataError: no pair has two different values.

    Examples:
        >>> from embrm.core.data import Features
        >>> found = flip_report(
        ...     lambda f: f.matrix("joint")[:, 0], Features.of([[0.1, 0.0], [1.0, 1.0]]), np.array([[0, 1]]),
        ...     radius=0.1, seed=0,
        ... )  # the values differ by 0.9, and each moves by 0.135 at most
        >>> float(found.share.estimate), bool(found.tail[0] < 1e-6)
        (0.0, True)
    """
    if not radius > 0 or not np.isfinite(radius):
        raise OptionError(f"radius must be a finite number > 0, got {radius}; without a perturbation nothing can turn")
    if draws < 20:
        raise OptionError(f"a tail is estimated from at least 20 draws, got {draws}")
    at_rest = value(features)
    pairs = np.asarray(pairs).reshape(-1, 2)
    gap = at_rest[pairs[:, 0]] - at_rest[pairs[:, 1]]
    kept = gap != 0
    if not kept.any():
        raise DataError("no two texts of one prompt have different values, so that there is no preference to turn")
    ordered = np.where(gap[kept, None] > 0, pairs[kept], pairs[kept, ::-1])
    margins = _margins(value, features, ordered, radius=radius, draws=draws, seed=seed)
    flips, tail = np.full((2, len(pairs)), np.nan)
    flips[kept] = (margins <= 0).mean(axis=1)
    tail[kept] = [normal_tail(row) if (row > 0).all() else np.nan for row in margins]
    of = np.arange(len(pairs)) if cluster is None else np.asarray(cluster)
    return FlipReport(radius, draws, share(flips[kept], cluster=of[kept]), flips, tail)


def _margins(value: Value, features: Features, pairs: IntArray, *, radius: float, draws: int, seed: int) -> Array:
    """Return by how much the preferred text of each pair is ahead after each perturbation, `(n, draws)`."""
    rng = np.random.default_rng(seed)
    rows = replace(features.take(pairs.T.ravel()), hashes=None)  # the preferred texts, then the others
    size = {
        name: radius * float(np.median(np.linalg.norm(np.subtract(*np.split(rows.matrix(name), 2)), axis=1)))
        for name in rows.views
    }
    found, at_once = [], max(1, _ROWS // len(rows))
    for start in range(0, draws, at_once):
        count = min(at_once, draws - start)
        many = rows.take(np.tile(np.arange(len(rows)), count))
        moved = {name: many.matrix(name) + _in_ball(rng, many.matrix(name).shape, size[name]) for name in many.views}
        values = value(replace(many, views=moved)).reshape(count, 2, len(pairs))
        found.append(values[:, 0] - values[:, 1])
    return np.concatenate(found).T


def _in_ball(rng: np.random.Generator, shape: tuple[int, ...], radius: float) -> Array:
    """Return points that are uniform in a ball around 0, `(n, d)`."""
    way = rng.standard_normal(shape, dtype=np.float32)
    length = radius * rng.random((shape[0], 1)) ** (1 / shape[1])
    return np.asarray(way * (length / np.linalg.norm(way, axis=1, keepdims=True)), dtype=np.float32)


def normal_tail(margins: npt.ArrayLike) -> float:
    """Return the probability that a margin is negative, by a normal fitted to `(k,)` positive ones, or NaN.

    RoMA's estimate: of the margins as they are, or of the Box–Cox transform of the odds exp(-margin) of the wrong
    preference, in which a transform by the logarithm is the margin itself; NaN where neither passes for normal.

    Examples:
        >>> rng = np.random.default_rng(1)
        >>> round(normal_tail(rng.normal(3.0, 1.0, size=500).clip(0.01)), 3)  # Φ(-3) is 0.001
        0.001
    """
    from scipy.special import ndtr
    from scipy.stats import boxcox

    x = np.asarray(margins, dtype=np.float64)
    spread = x.std(ddof=1)
    if not spread > 1e-12 * np.abs(x).max():
        return float("nan")
    z = x / spread
    if anderson_darling(z) <= _CRITICAL:
        return float(ndtr(-z.mean()))
    centre = z.mean()  # the transform's exponent does not depend on the unit of the odds, nor do they overflow
    turned, exponent = boxcox(np.exp(centre - z))
    if not np.isfinite(turned).all() or not turned.std() > 0 or anderson_darling(turned) > _CRITICAL:
        return float("nan")
    with np.errstate(over="ignore"):
        limit = np.expm1(exponent * centre) / exponent if exponent else centre
    return float(ndtr((turned.mean() - limit) / turned.std(ddof=1)))


def anderson_darling(x: npt.ArrayLike) -> float:
    """Return the statistic A² of normality with both moments estimated, corrected for the sample's size (Stephens)."""
    from scipy.special import log_ndtr

    z = np.sort(np.asarray(x, dtype=np.float64))
    z, n = (z - z.mean()) / z.std(ddof=1), len(z)
    weight = 2 * np.arange(1, n + 1) - 1
    found = -n - float(weight @ (log_ndtr(z) + log_ndtr(-z[::-1]))) / n
    return found * (1 + 0.75 / n + 2.25 / n**2)
