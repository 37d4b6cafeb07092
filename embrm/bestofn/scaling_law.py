"""How far one can optimise against a proxy: scaling-law fits, their forecasts, and the peak with what is lost after it.

Gold comes per prompt, `(prompts, k)` along a path of k points; fits also take `(prompts, seeds, k)`, and then prompts
and seeds are both resampled. Prompts of one cluster are drawn together.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from scipy.special import xlogy

from embrm.core.arrays import Array
from embrm.core.threads import one_thread
from embrm.errors import DataError, OptionError
from embrm.metrics.intervals import LEVEL, Interval, Units, bootstrap, resampled_means, stretched

Form: TypeAlias = Literal["bon", "rl"]


@dataclass(frozen=True, eq=False)
class GaoFit:
    """The scaling law of over-optimisation fitted to a path (Gao et al. 2210.10760).

    Attributes:
        form: "bon" `R = d(α - βd)` or "rl" `R = d(α - β log d)`, with `d = √KL`.
        alpha, beta: coefficients, with bootstrap intervals.
        peak_kl: KL in nats at which the fitted gain is largest; infinite where β <= 0.
        residual: root mean square of what the fit leaves of the mean gain.
    """

    form: Form
    alpha: Interval
    beta: Interval
    peak_kl: Interval
    residual: float

    def predict(self, kl: npt.ArrayLike) -> Array:
        """Return the fitted gain at KLs of any shape."""
        coefficients = np.stack([self.alpha.estimate, self.beta.estimate])
        return np.asarray(regressors(np.asarray(kl, dtype=np.float64), self.form) @ coefficients)


@one_thread
def fit_gao(
    kl: npt.ArrayLike,
    gain: npt.ArrayLike,
    *,
    form: Form,
    seed: int,
    draws: int = 2000,
    cluster: npt.ArrayLike | None = None,
) -> GaoFit:
    """Fit Gao's law to gold gains by linear least squares over the path's points.

    Args:
        kl: `(k,)` nats, >= 0.
        gain: gold minus its value at KL 0 (the reference policy's), per prompt, see the module.
        form: see `GaoFit`.
        seed: of the bootstrap.
        draws: of the bootstrap.
        cluster: `(prompts,)`, see `embrm.metrics.intervals.bootstrap`.

    Raises:
        DataError: shapes do not fit, or fewer than two points have a KL above 0.
        OptionError: there is no such form.

    Examples:
        >>> import numpy as np
        >>> from embrm.bestofn import kl_bound
        >>> kl = kl_bound([1, 2, 4, 8, 16, 32])
        >>> noise = np.random.default_rng(0).normal(scale=0.01, size=(50, 6))
        >>> fit = fit_gao(kl, np.sqrt(kl) * (2 - 0.9 * np.sqrt(kl)) + noise, form="bon", seed=0)
        >>> round(float(fit.alpha.estimate), 2), round(float(fit.beta.estimate), 2)
        (2.0, 0.9)
        >>> round(float(fit.peak_kl.estimate), 1)  # (2 / (2 · 0.9))²
        1.2
    """
    x, y, ways = _path(kl, gain)
    solve = np.linalg.pinv(regressors(x, form))

    def summary(mean: Array) -> Array:
        alpha, beta = solve @ mean
        return np.array([alpha, beta, _peak_kl(alpha, beta, form)])

    found = bootstrap(y, seed=seed, statistic=summary, draws=draws, two_way=ways == 2, cluster=cluster)
    mean = y.mean(axis=tuple(range(ways)))
    rest = mean - regressors(x, form) @ found.estimate[:2]
    return GaoFit(form, found[0], found[1], found[2], float(np.sqrt(np.mean(rest**2))))


@dataclass(frozen=True, eq=False)
class Extrapolation:
    """What a fit to a path's start says of its end, against the guess that gold stays where the start left it.

    Attributes:
        predicted, observed: mean gain at the last point.
        error: predicted minus observed.
        flat_error: gain at the last fitted point minus observed.
        advantage: `|flat_error| - |error|`, paired; positive where the fit forecasts better.
    """

    predicted: Interval
    observed: Interval
    error: Interval
    flat_error: Interval
    advantage: Interval


@one_thread
def extrapolate(
    kl: npt.ArrayLike,
    gain: npt.ArrayLike,
    *,
    points: int,
    form: Form,
    seed: int,
    draws: int = 2000,
    cluster: npt.ArrayLike | None = None,
) -> Extrapolation:
    """Fit Gao's law to the first `points` points of a path and compare its forecast of the last one.

    Args:
        kl: `(k,)` nats, ascending.
        gain: as for `fit_gao`.
        points: how many points the fit sees, at least 2 and fewer than k.
        form: see `GaoFit`.
        seed: of the bootstrap.
        draws: of the bootstrap.
        cluster: `(prompts,)`, see `embrm.metrics.intervals.bootstrap`.

    Raises:
        OptionError: `points` leaves nothing to fit or nothing to forecast.

    Examples:
        >>> import numpy as np
        >>> from embrm.bestofn import kl_bound
        >>> kl = kl_bound([1, 2, 4, 8, 16, 32])
        >>> noise = np.random.default_rng(0).normal(scale=0.001, size=(50, 6))
        >>> gain = np.sqrt(kl) * (2 - 0.9 * np.sqrt(kl)) + noise
        >>> found = extrapolate(kl, gain, points=4, form="bon", seed=0)
        >>> bool(abs(found.error.estimate) < 0.01), round(float(found.flat_error.estimate), 1)
        (True, 0.2)
    """
    x, y, ways = _path(kl, gain)
    errors = forecaster(x, points=points, form=form)

    def summary(mean: Array) -> Array:
        error, flat = errors(mean)
        return np.array([mean[-1] + error, mean[-1], error, flat, abs(flat) - abs(error)])

    found = bootstrap(y, seed=seed, statistic=summary, draws=draws, two_way=ways == 2, cluster=cluster)
    return Extrapolation(found[0], found[1], found[2], found[3], found[4])


def forecaster(kl: Array, *, points: int, form: Form) -> Callable[[Array], tuple[Array, Array]]:
    """Return what measures how far a forecast of a path's last point from its first ones is off.

    That function takes mean gains `(..., k)` and returns two errors `(...)`, forecast minus observed: of Gao's law
    fitted to the first points, and of the guess that gold stays at the last of them. The forecast of a least-squares
    fit is linear in the gains, so its weights on them are computed once.

    Args:
        kl: `(k,)` nats.
        points: how many points the fit sees, at least 2 and fewer than k.
        form: see `GaoFit`.

    Raises:
        OptionError: `points` leaves nothing to fit or nothing to forecast.
    """
    if not 2 <= points < len(kl):
        raise OptionError(f"points must be inside 2..{len(kl) - 1} for a path of {len(kl)} points, got {points}")
    law = regressors(kl, form)
    weight = law[-1] @ np.linalg.pinv(law[:points])

    def errors(gain: Array) -> tuple[Array, Array]:
        observed = gain[..., -1]
        return np.asarray(gain[..., :points] @ weight - observed), np.asarray(gain[..., points - 1] - observed)

    return errors


@dataclass(frozen=True, eq=False)
class Peak:
    """Where gold is highest along a path, and what is lost from there to the end.

    Attributes:
        at: the path's point with the highest mean gold, over all prompts.
        gain: gold at the peak minus gold at the start; the peak is located on other prompts than it is measured on.
        drop: gold at the peak minus gold at the end, likewise; about 0, and often below, when there is no peak.
    """

    at: int
    gain: Interval
    drop: Interval


@one_thread
def peak(
    gold: npt.ArrayLike,
    *,
    seed: int,
    draws: int = 2000,
    level: float = LEVEL,
    cluster: npt.ArrayLike | None = None,
) -> Peak:
    """Measure the peak with cross-fitting: located on half of the clusters, measured on the other half, and swapped.

    Measured where it was located, peak minus end is never negative and would look significant on a flat path.

    Args:
        gold: `(prompts, k)` along the path; at least 4 prompts, or clusters of them.
        seed: of the halves and of the bootstrap, which resamples within each half.
        draws: of the bootstrap.
        level: nominal coverage.
        cluster: `(prompts,)` which prompts belong together; None: each stands alone.

    Raises:
        DataError: the shape does not fit, or there are fewer than 4 prompts, or clusters of them.

    Examples:
        >>> import numpy as np
        >>> path = np.array([0.0, 1.0, 2.0, 1.5, 1.2])
        >>> found = peak(path + np.random.default_rng(0).normal(scale=0.01, size=(40, 5)), seed=0)
        >>> found.at, round(float(found.drop.estimate), 1)
        (2, 0.8)
    """
    y = np.asarray(gold, dtype=np.float64)
    of = np.unique(np.arange(len(y)) if cluster is None else np.asarray(cluster), return_inverse=True)[1]
    if y.ndim != 2 or of.shape != y.shape[:1] or (count := int(of.max(initial=-1)) + 1) < 4:
        raise DataError(f"gold must be (prompts, k) with at least 4 prompts, or clusters of them, got {y.shape}")
    first = np.isin(of, np.random.default_rng(seed).permutation(count)[: count // 2])
    streams = np.random.SeedSequence(seed).generate_state(2)

    halves = [
        resampled_means(y[h], seed=int(s), draws=draws, cluster=of[h])
        for h, s in zip((first, ~first), streams, strict=True)
    ]
    estimate = gain_and_drop(*(y[half].mean(axis=0)[None] for half in (first, ~first)))[0]
    drawn = stretched(gain_and_drop(*halves), Units(count, 2), level=level)
    found = Interval.of(estimate, drawn, n=len(y), level=level)
    return Peak(int(y.mean(axis=0).argmax()), found[0], found[1])


def gain_and_drop(first: Array, second: Array) -> Array:
    """Return gain and drop `(draws, 2)` from two halves' mean paths `(draws, k)`, averaged over both directions."""
    rows = np.arange(len(first))
    out = np.zeros((len(first), 2))
    for locate, measure in ((first, second), (second, first)):
        top = measure[rows, locate.argmax(axis=1)]
        out += np.stack([top - measure[:, 0], top - measure[:, -1]], axis=1) / 2
    return out


def _path(kl: npt.ArrayLike, gain: npt.ArrayLike) -> tuple[Array, Array, int]:
    x, y = np.asarray(kl, dtype=np.float64), np.asarray(gain, dtype=np.float64)
    if x.ndim != 1 or y.ndim not in (2, 3) or y.shape[-1] != len(x):
        raise DataError(f"gain must be (prompts, k) or (prompts, seeds, k) with kl (k,), got {y.shape} and {x.shape}")
    if not (x >= 0).all() or (x > 0).sum() < 2:
        raise DataError(f"kl must be >= 0 with at least two points above 0, got {x}")
    return x, y, y.ndim - 1


def regressors(kl: Array, form: Form) -> Array:
    """Return the regressors of α and β, `(..., 2)`."""
    if form not in ("bon", "rl"):
        raise OptionError(f"form must be 'bon' or 'rl', got '{form}'")
    d = np.sqrt(kl)
    return np.stack([d, -(d**2) if form == "bon" else -xlogy(d, d)], axis=-1)


def _peak_kl(alpha: float, beta: float, form: Form) -> float:
    if beta <= 0:
        return np.inf
    # The roots of α - 2βd and of α - β - β log d, the derivatives in d.
    with np.errstate(over="ignore"):
        return max(alpha / (2 * beta), 0) ** 2 if form == "bon" else float(np.exp(2 * (alpha / beta - 1)))
