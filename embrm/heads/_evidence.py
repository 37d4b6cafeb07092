"""The prior precision of a linear reward by marginal likelihood, under Laplace's approximation."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from scipy.optimize import minimize_scalar
from scipy.special import expit

from embrm.errors import ConvergenceError
from embrm.heads import _newton
from embrm.types import Array

BOUNDS = (1e-3, 1e7)  # of λ over features of unit variance
TOLERANCE = 1e-3  # of log λ
PATIENCE = 12  # steps before the search halves its bracket


def log_evidence(fitted: _newton.Fitted, precision: float) -> float:
    """Return log ∫ p(labels|θ) N(θ; 0, I/λ) dθ by Laplace's approximation (MacKay 1992)."""
    logdet = 2 * np.log(np.diagonal(scipy.linalg.cholesky(fitted.hessian))).sum()
    return float(-fitted.loss + 0.5 * (len(fitted.theta) * np.log(precision) - logdet))


def search(data: _newton.Data, *, steps: int = 30) -> tuple[_newton.Fitted, list[dict[str, float]]]:
    """Return the fit under the λ of highest evidence, and every λ tried with its log evidence (the last is the best).

    Each step solves for the MAP from a warm start, and then maximises over λ the evidence of the quadratic model there
    plus the first-order effect of λ on the curvature, which MacKay's fixed point leaves out: where the steps come to
    rest, the derivative of Laplace's evidence is 0. The sign of that derivative brackets λ inside 1e-3..1e7.

    Raises:
        ConvergenceError: λ still moves after `steps` steps.
    """
    log_precision = 0.5 * np.log(len(data.d))
    low, high = np.log(BOUNDS)  # the evidence rises at `low` and falls at `high`
    start: Array | None = None
    before: tuple[float, float] | None = None
    trials: list[dict[str, float]] = []
    for step in range(steps):
        precision = float(np.exp(log_precision))
        fitted = _newton.fit(data, precision=precision, start=start)
        trials.append({"prior_precision": precision, "log_evidence": log_evidence(fitted, precision)})
        values, vectors = scipy.linalg.eigh(fitted.hessian)
        theta = vectors.T @ fitted.theta
        slope = _curvature_effect(data, fitted, vectors / np.sqrt(values), -precision * vectors @ (theta / values))
        rise = 0.5 * (len(theta) - precision * (theta @ theta + (1 / values).sum())) + slope
        low, high = (log_precision, high) if rise > 0 else (low, log_precision)
        curvature = np.maximum(values - precision, 0.0)
        following = _maximise(curvature, values * theta, slope=slope, around=log_precision)
        if before is not None and rise != before[1]:  # where the loss is far from quadratic, the secant is faster
            secant = log_precision - rise * (log_precision - before[0]) / (rise - before[1])
            following = secant if low <= secant <= high else following
        if step > PATIENCE or not low <= following <= high:
            following = 0.5 * (low + high)
        before = (log_precision, rise)
        if abs(following - log_precision) < TOLERANCE:
            return fitted, trials
        start = vectors @ (values * theta / (curvature + np.exp(following)))
        log_precision = following
    raise ConvergenceError(
        f"the search for the prior precision has not come to rest after {steps} steps (it is at {precision:.3g}); "
        "give prior_precision"
    )


def _maximise(curvature: Array, b: Array, *, slope: float, around: float) -> float:
    """Return the log λ of highest evidence of a quadratic loss with the given eigenvalues, at most 3 away."""

    def negative(log_precision: float) -> float:
        h = curvature + np.exp(log_precision)
        return float(-0.5 * (b @ (b / h) + len(b) * log_precision - np.log(h).sum()) - slope * log_precision)

    low, high = np.log(BOUNDS)
    bounds = (max(low, around - 3), min(high, around + 3))
    return float(minimize_scalar(negative, bounds=bounds, method="bounded", options={"xatol": 1e-5}).x)


def _curvature_effect(data: _newton.Data, fitted: _newton.Fitted, root: Array, moved: Array) -> float:
    """Return −½ tr(H⁻¹ dA/d log λ), A the likelihood's Hessian, H⁻¹ = `root rootᵀ`, `moved` the MAP's dθ/d log λ."""
    p = expit(data.margins(fitted.theta))
    third = data.weight * p * (1 - p) * (1 - 2 * p)
    total = 0.0
    root32 = root.astype(data.d.dtype)
    for s in range(0, len(p), _newton.CHUNK):
        d = data.d[s : s + _newton.CHUNK]
        leverage = np.square(d @ root32).sum(axis=1, dtype=np.float64)
        total += float((third[s : s + _newton.CHUNK] * leverage) @ (d @ moved))
    return -0.5 * total
