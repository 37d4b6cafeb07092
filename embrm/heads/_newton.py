"""Newton's method for the penalised Bradley–Terry likelihood of a linear reward."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.linalg
from scipy.special import expit

from embrm.core.arrays import Array, IntArray
from embrm.core.data import Pairs
from embrm.errors import ConvergenceError
from embrm.heads.gradient.split import targets

CHUNK = 8192


class Data(NamedTuple):
    """Pairs as a linear reward sees them: differences chosen − rejected `(n, p)`, and `(n,)` numbers of `targets`."""

    d: Array
    weight: Array
    target: Array
    margin: Array

    @classmethod
    def of(cls, x: Array, pairs: Pairs, *, scale: Array) -> Data:
        """Gather the differences of features `x (m, p)` in units of `scale (p,)`, in the precision of `x`."""
        d = x[pairs.chosen]
        d -= x[pairs.rejected]
        d /= scale.astype(d.dtype)
        return cls(d, *targets(pairs))

    def take(self, index: IntArray) -> Data:
        """Return the given pairs."""
        return Data(*(a[index] for a in self))

    def spanned(self) -> tuple[Data, Array | None]:
        """Return the same pairs in the span of their differences, and its orthonormal basis `(p, n)`.

        Where there are more columns than pairs the likelihood sees no other direction: there θ keeps its prior, and a
        Hessian of `p` columns would be memory spent on it. Else the data themselves and None.
        """
        if self.d.shape[1] <= len(self.d):
            return self, None
        basis = np.asarray(scipy.linalg.qr(self.d.T.astype(np.float64), mode="economic", check_finite=False)[0])
        return self.along(basis), basis

    def along(self, basis: Array | None) -> Data:
        """Return the differences' coordinates in a basis `(p, r)`; None leaves them as they are."""
        return self if basis is None else self._replace(d=self.d.astype(np.float64) @ basis)

    def loss(self, z: Array) -> Array:
        """Return the negative log likelihood `(n,)` of margins `z (n,)`: −t log σ(z) − (1 − t) log σ(−z)."""
        return np.asarray(np.logaddexp(0.0, z) - self.target * z)

    def margins(self, theta: Array) -> Array:
        """Return θᵀd − m, `(n,)` float64."""
        parts = [self.d[s : s + CHUNK].astype(np.float64) @ theta for s in range(0, len(self.d), CHUNK)]
        return np.asarray(np.concatenate(parts) - self.margin)


def hessian(d: Array, curvature: Array, precision: float) -> Array:
    """Return `λI + Σ c dᵀd`, `(p, p)` float64, of differences `d (n, p)` with curvature `c (n,)`."""
    out = np.eye(d.shape[1]) * precision
    root = np.sqrt(curvature)
    for start in range(0, len(d), CHUNK):
        part = d[start : start + CHUNK] * root[start : start + CHUNK, None].astype(d.dtype)
        out += part.T @ part
    return out


class Fitted(NamedTuple):
    """The MAP `(p,)`, the Hessian `(p, p)` of the penalised loss there, and that loss."""

    theta: Array
    hessian: Array
    loss: float


def fit(data: Data, *, precision: float, start: Array | None = None, steps: int = 60) -> Fitted:
    """Return the MAP of θ under `Σ w·loss(θᵀd − m, t) + λ‖θ‖²/2`.

    Args:
        data: the pairs.
        precision: λ > 0, the prior precision; it bounds θ where the pairs are separable.
        start: a warm start `(p,)`.
        steps: how many Newton steps may be taken.

    Raises:
        ConvergenceError: the gradient is still large after `steps` steps.
    """
    theta = np.zeros(data.d.shape[1]) if start is None else np.asarray(start, dtype=np.float64)

    def objective(t: Array) -> tuple[float, Array]:
        z = data.margins(t)
        return float(data.weight @ data.loss(z) + 0.5 * precision * t @ t), z

    value, z = objective(theta)
    for _ in range(steps):
        p = expit(z)
        gradient = _transposed(data.d, data.weight * (p - data.target)) + precision * theta
        curvature = hessian(data.d, data.weight * p * (1 - p), precision)
        step = scipy.linalg.cho_solve(scipy.linalg.cho_factor(curvature), gradient)
        decrement = float(gradient @ step)
        if decrement <= 1e-10 * max(1.0, abs(value)):
            return Fitted(theta, curvature, value)
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


def _transposed(d: Array, v: Array) -> Array:
    out = np.zeros(d.shape[1])
    for s in range(0, len(d), CHUNK):
        out += v[s : s + CHUNK] @ d[s : s + CHUNK].astype(np.float64)
    return out
