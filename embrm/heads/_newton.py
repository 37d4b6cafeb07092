"""Newton's method for the penalised Bradley–Terry likelihood of a linear reward."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
from scipy.special import expit

from embrm.core.arrays import Array, IntArray, Matrix
from embrm.core.data import Pairs
from embrm.core.progress import tracked
from embrm.core.traces import StepPairs
from embrm.errors import ConvergenceError
from embrm.heads.gradient.split import targets

CHUNK = 8192
CONSTANT = 30.0  # of the column that carries an intercept: the prior holds it 900 times less than the others
BYTES = 512 << 20  # of differences that are kept; more are made anew for each pass, from features that may be in a file


@dataclass(frozen=True, eq=False)
class Differences:
    """Rows chosen − rejected in units of `scale`, `(n, p)`, made when they are asked for."""

    x: Matrix
    chosen: IntArray
    rejected: IntArray
    scale: Array

    @property
    def shape(self) -> tuple[int, int]:
        """Return `(n, p)`."""
        return len(self.chosen), self.x.shape[1]

    @property
    def dtype(self) -> np.dtype[Any]:
        """Return the precision of the features."""
        return self.x.dtype

    def __len__(self) -> int:
        return len(self.chosen)

    def __getitem__(self, rows: slice) -> Array:
        d = self.x[self.chosen[rows]]
        d -= self.x[self.rejected[rows]]
        d /= self.scale.astype(d.dtype)
        return d

    def take(self, index: IntArray) -> Differences:
        """Return the given pairs."""
        return replace(self, chosen=self.chosen[index], rejected=self.rejected[index])


class Data(NamedTuple):
    """Pairs as a linear reward sees them: differences chosen − rejected `(n, p)`, and `(n,)` numbers of `targets`."""

    d: Array | Differences
    weight: Array
    target: Array
    margin: Array

    @classmethod
    def of(cls, x: Matrix, pairs: Pairs, *, scale: Array, mean: Array | float = 0.0) -> Data:
        """Gather the differences of features `x (m, p)` in units of `scale (p,)`, in the precision of `x`.

        Of labelled steps there are no differences: they are rows less their `mean (p,)`, with a constant column. The
        first text of each pair comes first, then the second of each.
        """
        if isinstance(pairs, StepPairs):
            rows, label = np.concatenate([pairs.chosen, pairs.rejected]), pairs.labels.T.ravel()
            d = np.empty((len(rows), x.shape[1] + 1), dtype=x.dtype)
            d[:, :-1], d[:, -1] = (x[rows] - mean) / scale, CONSTANT
            known = ~np.isnan(label)
            return cls(d, known.astype(np.float64), np.where(known, label, 0.0), np.zeros(len(rows)))
        differences = Differences(x, pairs.chosen, pairs.rejected, scale)
        few = differences.dtype.itemsize * len(pairs) * differences.shape[1] <= BYTES
        return cls(differences[:] if few else differences, *targets(pairs))

    def take(self, index: IntArray) -> Data:
        """Return the given pairs."""
        numbers = (self.weight[index], self.target[index], self.margin[index])
        return Data(self.d.take(index) if isinstance(self.d, Differences) else self.d[index], *numbers)

    def spanned(self) -> tuple[Data, Array | None]:
        """Return the same pairs in the span of their differences, and its orthonormal basis `(p, n)`.

        Where there are more columns than pairs the likelihood sees no other direction: there θ keeps its prior, and a
        Hessian of `p` columns would be memory spent on it. Else the data themselves and None.
        """
        if self.d.shape[1] <= len(self.d):
            return self, None
        basis = np.asarray(scipy.linalg.qr(self.d[:].T.astype(np.float64), mode="economic", check_finite=False)[0])
        return self.along(basis), basis

    def along(self, basis: Array | None) -> Data:
        """Return the differences' coordinates in a basis `(p, r)`; None leaves them as they are."""
        return self if basis is None else self._replace(d=self.d[:].astype(np.float64) @ basis)

    def loss(self, z: Array) -> Array:
        """Return the negative log likelihood `(n,)` of margins `z (n,)`: −t log σ(z) − (1 − t) log σ(−z)."""
        return np.asarray(np.logaddexp(0.0, z) - self.target * z)

    def margins(self, theta: Array) -> Array:
        """Return θᵀd − m, `(n,)` float64."""
        starts = range(0, len(self.d), CHUNK)
        return np.concatenate([self.d[s : s + CHUNK].astype(np.float64) @ theta for s in starts]) - self.margin


def without_constant(theta: Array, pairs: Pairs) -> tuple[Array, Array]:
    """Return θ `(s, p)` and the intercept `(s,)`, which is 0 of preferences."""
    if not isinstance(pairs, StepPairs):
        return theta, np.zeros(len(theta))
    return theta[:, :-1], theta[:, -1] * CONSTANT


class Fitted(NamedTuple):
    """A point θ `(p,)` and what the penalised loss has there; of a fit the MAP.

    Attributes:
        theta: θ.
        hessian: `(p, p)`, of the penalised loss.
        loss: the penalised loss.
        margins: `(n,)` θᵀd − m.
        gradient: `(p,)`, of the penalised loss.
    """

    theta: Array
    hessian: Array
    loss: float
    margins: Array
    gradient: Array

    @classmethod
    def at(cls, data: Data, theta: Array, precision: float) -> Fitted:
        """Compute all in one pass over the differences, which may have to be made anew for it."""
        p = data.d.shape[1]
        loss, gradient, hessian = 0.5 * precision * theta @ theta, precision * theta, np.eye(p) * precision
        margins = np.empty(len(data.d))
        for start in range(0, len(data.d), CHUNK):
            rows = slice(start, start + CHUNK)
            part, weight, target = data.d[rows], data.weight[rows], data.target[rows]
            wide = part.astype(np.float64)
            z = margins[rows] = wide @ theta - data.margin[rows]
            chance = expit(z)
            loss += weight @ (np.logaddexp(0.0, z) - target * z)
            gradient += (weight * (chance - target)) @ wide
            part = part * np.sqrt(weight * chance * (1 - chance))[:, None].astype(part.dtype)
            hessian += part.T @ part
        return cls(theta, hessian, float(loss), margins, gradient)

    def step(self) -> Array:
        """Return Newton's step H⁻¹g `(p,)`, which is subtracted."""
        return np.asarray(scipy.linalg.cho_solve(scipy.linalg.cho_factor(self.hessian), self.gradient))

    def moved(self, before: float, precision: float) -> Array:
        """Return θ `(p,)` after Newton's step from a MAP to that of another λ, which takes no pass over the data."""
        more = precision - before
        return (
            self.theta
            - self._replace(
                hessian=self.hessian + more * np.eye(len(self.theta)), gradient=self.gradient + more * self.theta
            ).step()
        )


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
    here = Fitted.at(data, theta, precision)
    for _ in tracked(iter(range(steps)), "Newton steps"):
        step = here.step()
        decrement = float(here.gradient @ step)
        if decrement <= 1e-10 * max(1.0, abs(here.loss)):
            return here
        size = 1.0
        while True:  # the objective is convex and the step a descent direction: halving ends
            trial = Fitted.at(data, here.theta - size * step, precision)
            if trial.loss <= here.loss - 0.1 * size * decrement or size < 1e-8:
                break
            size /= 2
        here = trial
    raise ConvergenceError(
        f"the linear fit has not converged after {steps} Newton steps (decrement {decrement:.2g}); "
        "raise the prior precision"
    )
