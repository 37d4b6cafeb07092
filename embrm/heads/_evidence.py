"""The prior precision of a linear reward by marginal likelihood, under Laplace's approximation."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from scipy.special import expit

from embrm.core.arrays import Array
from embrm.core.progress import tracked
from embrm.errors import ConvergenceError
from embrm.heads import _newton

BOUNDS = (1e-3, 1e7)  # of λ over features of unit variance
TOLERANCE = 1e-3  # of log λ
PATIENCE = 12  # steps before the search only halves its bracket


def log_evidence(fitted: _newton.Fitted, precision: float) -> float:
    """Return log ∫ p(labels|θ) N(θ; 0, I/λ) dθ by Laplace's approximation (MacKay 1992)."""
    logdet = 2 * np.log(np.diagonal(scipy.linalg.cholesky(fitted.hessian))).sum()
    return float(-fitted.loss + 0.5 * (len(fitted.theta) * np.log(precision) - logdet))


def search(data: _newton.Data, *, steps: int = 30) -> tuple[_newton.Fitted, list[dict[str, float]]]:
    """Return the fit under the λ of highest evidence, and every λ tried with its log evidence (the last is the best).

    Each step solves for the MAP from a warm start and computes the exact derivative of Laplace's evidence, with the
    effect of λ on the curvature, which MacKay's fixed point λ = (p − λ tr H⁻¹)/‖θ‖² leaves out. The corrected fixed
    point and then secants find its zero; its sign brackets λ inside 1e-3..1e7.

    Raises:
        ConvergenceError: λ still moves after `steps` steps.
    """
    log_precision = 0.5 * np.log(len(data.d))
    low, high = np.log(BOUNDS)  # the evidence rises at `low` and falls at `high`
    start: Array | None = None
    before: tuple[float, float] | None = None
    trials: list[dict[str, float]] = []
    for step in tracked(iter(range(steps)), "prior precisions"):  # most searches need few: how many, nobody knows
        precision = float(np.exp(log_precision))
        fitted = _newton.fit(data, precision=precision, start=start)
        theta = fitted.theta
        trials.append({"prior_precision": precision, "log_evidence": log_evidence(fitted, precision)})
        root = inverse_root(fitted.hessian)
        moved = -precision * root @ (theta @ root)  # dθ/d log λ
        free = len(theta) - precision * np.square(root).sum() + 2 * _curvature_effect(data, fitted, root, moved)
        rise = 0.5 * (free - precision * (theta @ theta))  # d log evidence / d log λ
        low, high = (log_precision, high) if rise > 0 else (low, log_precision)
        following = np.log(free / (theta @ theta)) if free > 0 and theta.any() else np.inf
        if before is not None and rise != before[1]:
            secant = log_precision - rise * (log_precision - before[0]) / (rise - before[1])
            following = secant if low <= secant <= high else following
        if step > PATIENCE or not low <= following <= high:
            following = 0.5 * (low + high)
        if abs(following - log_precision) < TOLERANCE:
            return fitted, trials
        start = theta + moved * np.clip(following - log_precision, -1, 1)
        before, log_precision = (log_precision, rise), following
    raise ConvergenceError(
        f"the search for the prior precision has not come to rest after {steps} steps (it is at {precision:.3g}); "
        "give prior_precision"
    )


def inverse_root(hessian: Array) -> Array:
    """Return the upper triangular R `(p, p)` with R Rᵀ the inverse of a positive definite matrix."""
    lower = scipy.linalg.cholesky(hessian, lower=True)
    return np.asarray(scipy.linalg.solve_triangular(lower, np.eye(len(lower)), lower=True, trans="T"))


def _curvature_effect(data: _newton.Data, fitted: _newton.Fitted, root: Array, moved: Array) -> float:
    """Return −½ tr(H⁻¹ dA/d log λ), A the likelihood's Hessian, H⁻¹ = `root rootᵀ`, `moved` the MAP's dθ/d log λ."""
    p = expit(fitted.margins)
    third = data.weight * p * (1 - p) * (1 - 2 * p)
    total = 0.0
    root32 = root.astype(data.d.dtype)
    for s in range(0, len(p), _newton.CHUNK):
        d = data.d[s : s + _newton.CHUNK]
        leverage = np.square(d @ root32).sum(axis=1, dtype=np.float64)
        total += float((third[s : s + _newton.CHUNK] * leverage) @ (d @ moved))
    return -0.5 * total
