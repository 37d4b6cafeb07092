"""The exponential tilt `π_β ∝ π_ref exp(r/β)`, the optimum of `E[r] - β KL(π‖π_ref)`: its weights, its path, its KL.

A pool is a sample of some proposal with weights `log π_ref - log q`, or is π_ref itself. Pools of one size are rows of
a matrix; ragged pools are such matrices, one for each size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embrm.bestofn.curves import Curve, believable
from embrm.bestofn.ranks import as_pools, by_size
from embrm.bestofn.weighed import WeighedPools
from embrm.core.arrays import Array, BoolArray, IntArray, positive
from embrm.errors import DataError, OptionError

STEP = 6  # points of a path that are made before it is asked whether it has gone far enough


@dataclass(frozen=True, eq=False)
class TiltPath:
    """The optima π_β ∝ π_ref·exp(r/β) for a row of β, prompt by prompt.

    Attributes:
        inverse_beta: `(b,)` increasing values of 1/β; the first is 0, which is π_ref itself.
        kl: `(b, prompts)` KL(π_β‖π_ref) in nats.
        proxy: `(b, prompts)` expected proxy reward.
        gold: `(b, prompts)` expected gold reward.
        ess: `(b, prompts)` effective sample size.
        bias: `(b,)` of the mean gold or proxy at the point's KL, whichever is larger, in standard deviations under
            π_ref; as halves of the pools show it (see `tilt_path`).
    """

    inverse_beta: Array
    kl: Array
    proxy: Array
    gold: Array
    ess: Array
    bias: Array

    @property
    def reliable(self) -> BoolArray:
        """`(b,)` whether the summed effective sample size and the bias say that a point can be believed."""
        return believable(self.ess, self.bias)

    @property
    def end(self) -> int:
        """Index of the last point before the first unreliable one (0 where none but π_ref could be reliable)."""
        return (int(np.argmin(np.append(self.reliable, False))) or 1) - 1


def tilted(log_weight: Array, proxy: Array, inverse_beta: float) -> Array:
    """Return the share of each text under π_β ∝ π_ref·exp(r/β), `(prompts, n)`, summing to 1 within each prompt.

    Args:
        log_weight: `(prompts, n)` log π_ref − log q up to a constant of each prompt; minus infinity where there is no
            text. Of a pool that is itself the reference policy, uniform, all are 0.
        proxy: `(prompts, n)`.
        inverse_beta: 1/β.

    Examples:
        >>> import numpy as np
        >>> tilted(np.zeros((1, 3)), np.array([[0.0, 1.0, 2.0]]), inverse_beta=np.log(2)).round(3)
        array([[0.143, 0.286, 0.571]])
    """
    w = log_weight + inverse_beta * proxy
    w -= w.max(axis=1, keepdims=True)
    np.exp(w, out=w)
    return np.asarray(w / w.sum(axis=1, keepdims=True))


def tilted_pools(value: Array, offsets: IntArray, inverse_beta: float) -> Array:
    """Return the share `(m,)` of each row `∝ exp(value/β)`, summing to 1 in every one of ragged pools.

    Args:
        value: `(m,)`.
        offsets: `(pools + 1,)`.
        inverse_beta: 1/β.
    """
    out = np.empty(len(value))
    for _, rows in by_size(offsets):
        v = value[rows]
        # Distances to the pool's best lose no digits where 1/β or an offset of the rewards is large.
        out[rows] = tilted(np.zeros(v.shape), v - v.max(axis=1, keepdims=True), inverse_beta)
    return out


def tilt_path(
    log_weight: Array,
    proxy: Array,
    gold: Array,
    *,
    inverse_beta: npt.ArrayLike | None = None,
    until: float = np.inf,
) -> TiltPath:
    """Return the path of optima of E[r] − β·KL(π‖π_ref), normalised within each prompt.

    Self-normalised importance sampling; the KL is that of the weights, Σ w log(w/w_ref) = E[r]/β − log(Z_β/Z_∞), and
    ESS = 1/Σw². Such means are biased by about c/n for n texts a prompt, however many prompts there are. The bias is
    measured: every other text of each prompt makes a half of the pool, biased by 2c/n, so that the two halves' path is
    off the whole's, at the same KL, by the whole's own bias (the jackknife's reasoning; Owen, Monte Carlo theory, 2013,
    chapter 9).

    Args:
        log_weight: see `tilted`; texts of one stratum stand together, so that each half has half of them.
        proxy: `(prompts, n)`.
        gold: `(prompts, n)`.
        inverse_beta: rising values of 1/β from 0; None: 40, to 8 over the proxy's standard deviation under π_ref.
        until: nats; of the points whose mean KL lies beyond, all but the first few are left out.

    Raises:
        OptionError: `inverse_beta` does not rise from 0.
        DataError: the proxy is constant within every prompt.

    Examples:
        A pool that is itself the reference policy, with a gold reward that falls where the proxy is high:

        >>> import numpy as np
        >>> proxy = np.linspace(-2, 2, 1001)[None]
        >>> path = tilt_path(np.zeros_like(proxy), proxy, proxy - proxy**2, inverse_beta=[0, 0.5, 2])
        >>> path.kl.mean(axis=1).round(2)
        array([0.  , 0.15, 1.08])
        >>> path.proxy.mean(axis=1).round(2), path.gold.mean(axis=1).round(2)
        (array([0.  , 0.63, 1.5 ]), array([-1.34, -0.87, -1.  ]))
    """
    if inverse_beta is None:
        inverse_beta = np.linspace(0, np.sqrt(8), 40) ** 2 / reference_sd(log_weight, proxy)
    eta = np.asarray(inverse_beta, dtype=np.float64)
    if eta.ndim != 1 or len(eta) == 0 or eta[0] != 0 or (np.diff(eta) <= 0).any():
        raise OptionError(f"inverse_beta must rise from 0, got {eta}; sort it and begin with 0")
    pools, found = WeighedPools(log_weight, proxy, gold), []
    for some in np.split(eta, range(STEP, len(eta), STEP)):
        found.append(pools.at(some))
        if found[-1][0][0, -1].mean() > until:
            break
    whole, halves = (np.concatenate(parts, axis=1) for parts in zip(*found, strict=True))
    eta = eta[: whole.shape[1]]
    bias = _bias(eta, whole, halves, _variance(log_weight, proxy, gold))
    return TiltPath(eta, whole[0], whole[1], whole[2], whole[3], bias)


def _bias(inverse_beta: Array, whole: Array, halves: Array, variance: Array) -> Array:
    """Return `(b,)` the larger of proxy's and gold's bias at one KL, in standard deviations within prompts.

    Args:
        inverse_beta: `(b,)`.
        whole: see `WeighedPools.at`.
        halves: likewise.
        variance: `(2, prompts)` of proxy and gold under π_ref.
    """
    kl, proxy, gold, _, var, cov = whole.mean(axis=2)
    off_kl, *off = halves.mean(axis=2)[:3] - (kl, proxy, gold)
    # Along the path dKL = η var(r) dη and dE[g] = cov(r, g) dη: back to the whole's KL.
    climb = inverse_beta * var
    back = np.divide(off_kl, climb, out=np.zeros_like(climb), where=climb > 0)
    sd = np.sqrt(variance.mean(axis=1))
    bias = [np.abs(x - back * slope) / s if s > 0 else 0 * kl for x, slope, s in zip(off, (var, cov), sd, strict=True)]
    return np.asarray(np.maximum(*bias))


def _variance(log_weight: Array, *values: Array) -> Array:
    """Return the variances `(v, prompts)` of some values under π_ref."""
    start = tilted(log_weight, np.zeros_like(log_weight), 0.0)
    off = [x - (start * x).sum(axis=1, keepdims=True) for x in values]
    return np.stack([(start * x**2).sum(axis=1) for x in off])


def reference_sd(log_weight: Array, proxy: Array) -> float:
    """Return the proxy's standard deviation within prompts under π_ref.

    Raises:
        DataError: the proxy is constant within every prompt.

    Examples:
        >>> import numpy as np
        >>> reference_sd(np.zeros((2, 2)), np.array([[0.0, 2.0], [5.0, 7.0]]))
        1.0
    """
    sd = float(np.sqrt(_variance(log_weight, proxy).mean()))
    if sd == 0:
        raise DataError("the proxy is constant within every prompt, so there is no path; check the reward")
    return sd


def tilt_curve(
    proxy: npt.ArrayLike,
    gold: npt.ArrayLike,
    betas: npt.ArrayLike,
    *,
    reference: npt.ArrayLike | None = None,
    offsets: npt.ArrayLike | None = None,
) -> Curve:
    """Return the exact path of the KL-regularised optimum `π ∝ π_ref exp(r/β)` over pools of any sizes.

    This is what reinforcement learning with a KL penalty β could at best reach. `Curve.effective_size` matters where
    the pool is an importance sample of π_ref: a point that is not `Curve.reliable` should not be believed.

    Args:
        proxy: `(prompts, pool)`, or flat `(m,)` with `offsets`.
        gold: of the same shape.
        betas: `(k,)` numbers > 0; smaller goes further. `Curve.sizes` holds them.
        reference: π_ref of each row up to a factor for each pool, of the shape of `proxy`; None means uniform.
        offsets: `(prompts + 1,)`.

    Raises:
        OptionError: a β is not positive.
        DataError: the reference is negative, sums to 0 in a pool, or has another shape.

    Examples:
        >>> import numpy as np
        >>> proxy = np.array([0.0, 1.0, 2.0, 0.0, 4.0])
        >>> curve = tilt_curve(proxy, proxy, [1e6, 1.0, 0.01], offsets=[0, 3, 5])
        >>> curve.proxy_per_prompt.round(2)
        array([[1.  , 1.58, 2.  ],
               [2.  , 3.93, 4.  ]])
    """
    p, g, bounds = as_pools(proxy, gold, offsets)
    weight = np.ones(len(p)) if reference is None else np.asarray(reference, dtype=np.float64).ravel()
    if weight.shape != p.shape or not (weight >= 0).all() or not np.isfinite(weight).all():
        raise DataError(f"reference must be >= 0 with one number for each of the {len(p)} rows, got {weight.shape}")
    counts, total = np.diff(bounds), np.add.reduceat(weight, bounds[:-1])
    if not (total > 0).all():
        raise DataError(f"reference must have a positive sum in every pool; pool {np.argmin(total)} has {total.min()}")
    prior = weight / np.repeat(total, counts)
    sizes = positive("betas", betas)
    out, half = np.empty((2, 6, len(sizes), len(counts)))
    mean, sd, spread = np.empty(len(counts)), np.empty(len(counts)), np.empty((2, len(counts)))
    for pools, rows in by_size(bounds):
        r, value, w = p[rows], g[rows], prior[rows]
        log_w = np.log(w, where=w > 0, out=np.full(w.shape, -np.inf))
        out[:, :, pools], half[:, :, pools] = WeighedPools(log_w, r, value).at(1 / sizes)
        mean[pools] = (w * value).sum(axis=1)
        spread[:, pools] = _variance(log_w, r, value)
        sd[pools] = np.where(np.ptp(value, axis=1) > 0, np.sqrt(spread[1, pools]), 0)
    bias = _bias(1 / sizes, out, half, spread)
    return Curve(sizes, out[0].mean(axis=1), out[1].T, out[2].T, mean, sd, effective_size=out[3].T, bias=bias)
