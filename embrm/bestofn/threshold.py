"""The strength beyond which a rule is hacked, found as a root on calibration prompts."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Literal, TypeAlias, get_args

import numpy as np
import numpy.typing as npt
from scipy.optimize import brentq
from scipy.special import xlogy

from embrm.bestofn.ranks import as_pools, by_size, ranked, tie_mean
from embrm.bestofn.tilt import tilted_pools
from embrm.core.arrays import Array, IntArray
from embrm.errors import OptionError

PathRule: TypeAlias = Literal["best", "poisson", "tilt"]


def hack_threshold(
    proxy: npt.ArrayLike,
    gold: npt.ArrayLike,
    *,
    rule: PathRule = "best",
    high: float | None = None,
    offsets: npt.ArrayLike | None = None,
) -> float:
    """Return the strength of a rule beyond which gold falls, from calibration prompts (2506.19248).

    It is the root of `E[g · ∂ log p]`, the derivative of expected gold, at which gold is highest, with the pool taken
    as the policy itself. The strength is n of best-of-n (not necessarily whole), the rate m of
    best-of-(1 + Poisson(m)), or the inverse temperature 1/β of the tilt.

    Args:
        proxy: `(prompts, pool)`, or flat `(m,)` with `offsets`.
        gold: of the same shape.
        rule: "best", "poisson" or "tilt".
        high: largest strength looked at; None means the smallest pool's size, or for the tilt 10 pool sds of the proxy.
        offsets: `(prompts + 1,)`.

    Returns:
        The threshold; infinity if gold is highest at `high` (or constant), and the smallest strength (1 for "best", 0
        for the others) if gold only falls.

    Raises:
        OptionError: there is no such rule, or `high` is not above the smallest strength.

    Examples:
        Gold u¹²(1 - u) of a uniform rank u makes best-of-n worth n/((n + 12)(n + 13)), which is highest at n = √156:

        >>> import numpy as np
        >>> u = (np.arange(20_000) + 0.5) / 20_000
        >>> round(hack_threshold(u, u**12 * (1 - u)), 2)
        12.49
        >>> hack_threshold(u, u)
        inf
    """
    p, g, bounds = as_pools(proxy, gold, offsets)
    if rule not in get_args(PathRule):
        raise OptionError(f"rule must be 'best', 'poisson' or 'tilt', got '{rule}'")
    low = 1.0 if rule == "best" else 0.0
    high = _default_high(p, bounds, rule) if high is None else high
    if not low < high < np.inf:
        raise OptionError(f"high must be finite and above {low:g}, the smallest strength, got {high}")
    g = g - g.min()
    gold_at, slope = _tilt_path(p, g, bounds) if rule == "tilt" else _rank_path(p, g, bounds, rule)
    grid = low + (high - low) * np.linspace(0, 1, 201) ** 2  # finer where paths turn early
    sign = np.sign([slope(t) for t in grid])
    turns = np.flatnonzero((sign[:-1] > 0) & (sign[1:] <= 0))
    best = max([low, *(float(brentq(slope, grid[i], grid[i + 1])) for i in turns)], key=gold_at)
    # What differs by rounding is no fall.
    return best if gold_at(best) > gold_at(high) + 1e-12 * g.max() else np.inf


def _default_high(proxy: Array, offsets: IntArray, rule: PathRule) -> float:
    if rule != "tilt":
        return float(np.diff(offsets).min())
    sd = np.mean([proxy[a:b].std() for a, b in pairwise(offsets)])
    return float(10 / sd) if sd > 0 else 1.0


def _rank_path(
    proxy: Array, gold: Array, offsets: IntArray, rule: PathRule
) -> tuple[Callable[[float], float], Callable[[float], float]]:
    """Return expected gold, and its derivative, as functions of the strength of a rule of ranks."""
    # Expected gold is Σ_i (C(F_i) - C(F_{i-1})) g_(i), C the distribution of the choice's rank: mean sorted gold of all
    # pools of a size is all that matters.
    parts = []
    for pools, rows in by_size(offsets):
        order, group = ranked(proxy[rows])
        mean = tie_mean(np.take_along_axis(gold[rows], order, axis=1), group).mean(axis=0)
        parts.append((len(pools) / (len(offsets) - 1), np.arange(rows.shape[1] + 1) / rows.shape[1], mean))

    def law(F: Array, t: float) -> Array:
        return np.asarray(F**t if rule == "best" else F * np.exp(t * (F - 1)))

    def law_slope(F: Array, t: float) -> Array:
        return np.asarray(xlogy(F**t, F) if rule == "best" else F * (F - 1) * np.exp(t * (F - 1)))

    def total(of: Callable[[Array, float], Array], t: float) -> float:
        return float(sum(share * (np.diff(of(F, t)) @ g) for share, F, g in parts))

    return lambda t: total(law, t), lambda t: total(law_slope, t)


def _tilt_path(
    proxy: Array, gold: Array, offsets: IntArray
) -> tuple[Callable[[float], float], Callable[[float], float]]:
    """Return expected gold, and its derivative Cov(g, r), as functions of 1/β."""
    starts = offsets[:-1]

    def moments(t: float, *rows: Array) -> list[Array]:
        p = tilted_pools(proxy, offsets, t)
        return [np.add.reduceat(p * row, starts) for row in rows]

    def slope(t: float) -> float:
        both, g, r = moments(t, gold * proxy, gold, proxy)
        return float(np.mean(both - g * r))

    return lambda t: float(np.mean(moments(t, gold)[0])), slope
