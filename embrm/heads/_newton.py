"""Newton's method for the penalised Bradley–Terry likelihood of a linear reward."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from scipy.special import expit

from embrm.errors import ConvergenceError
from embrm.types import Array

CHUNK = 8192


def loss(margins: Array, target: Array) -> Array:
    """Return the negative log likelihood of each pair: −t log σ(z) − (1 − t) log σ(−z)."""
    return np.asarray(np.logaddexp(0.0, margins) - target * margins)


def hessian(d: Array, curvature: Array, precision: float) -> Array:
    """Return `λI + Σ c dᵀd`, `(p, p)` float64, of differences `d (n, p)` with curvature `c (n,)`."""
    out = np.eye(d.shape[1]) * precision
    root = np.sqrt(curvature)
    for start in range(0, len(d), CHUNK):
        part = d[start : start + CHUNK] * root[start : start + CHUNK, None].astype(d.dtype)
        out += part.T @ part
    return out


def fit(
    d: Array,
    *,
    weight: Array,
    target: Array,
    margin: Array,
    precision: float,
    start: Array | None = None,
    steps: int = 60,
) -> Array:
    """Return the MAP `(p,)` of θ under `Σ w·loss(θᵀd − m, t) + λ‖θ‖²/2`.

    Args:
        d: `(n, p)` differences chosen − rejected.
        weight: `(n,)` weights of the pairs.
        target: `(n,)` 1, or 0.5 for a tie.
        margin: `(n,)` subtracted from θᵀd.
        precision: λ > 0, the prior precision; it bounds θ where the pairs are separable.
        start: a warm start `(p,)`.
        steps: how many Newton steps may be taken.

    Raises:
        ConvergenceError: the gradient is still large after `steps` steps.
    """
    theta = np.zeros(d.shape[1]) if start is None else start.copy()

    def objective(t: Array) -> tuple[float, Array]:
        z = _times(d, t) - margin
        return float(weight @ loss(z, target) + 0.5 * precision * t @ t), z

    value, z = objective(theta)
    for _ in range(steps):
        p = expit(z)
        gradient = _transposed(d, weight * (p - target)) + precision * theta
        factor = scipy.linalg.cho_factor(hessian(d, weight * p * (1 - p), precision), overwrite_a=True)
        step = scipy.linalg.cho_solve(factor, gradient)
        decrement = float(gradient @ step)
        if decrement <= 1e-10 * max(1.0, abs(value)):
            return np.asarray(theta)
        size = 1.0
        while True:  # the objective is convex and the step a descent direction: halving ends
            trial = theta - size * step
            trial_value, trial_z = objective(trial)
            if trial_value <= value - 0.1 * size * decrement or size < 1e-8:
                break
            size /= 2
        theta, value, z = trial, trial_value, trial_z
    raise ConvergenceError(
        f"the linear fit has not converged after {steps} Newton steps (decrement {decrement:.2g}); "
        "raise the prior precision"
    )


def _times(d: Array, theta: Array) -> Array:
    parts = [d[s : s + CHUNK].astype(np.float64) @ theta for s in range(0, len(d), CHUNK)]
    return np.concatenate(parts)


def _transposed(d: Array, v: Array) -> Array:
    out = np.zeros(d.shape[1])
    for s in range(0, len(d), CHUNK):
        out += v[s : s + CHUNK] @ d[s : s + CHUNK].astype(np.float64)
    return out
