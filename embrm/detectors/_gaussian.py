"""A Gaussian fitted to reference rows: the measure of distance of several detectors."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy.linalg import cholesky, solve_triangular

from embrm.core.arrays import Array
from embrm.detectors._detector import unit_of
from embrm.errors import DataError


@dataclass(frozen=True, eq=False)
class FittedGaussian:
    """Mean `(k,)`, and lower Cholesky factor `(k, k)` of a covariance in units of `unit`."""

    mean: Array
    root: Array
    unit: float
    warnings: tuple[str, ...] = ()

    @classmethod
    def fit(cls, x: Array, *, shrink: bool = True, ridge: float = 0.0) -> FittedGaussian:
        """Fit rows `(m, k)`: by Ledoit and Wolf's shrinkage, or the sample covariance; `ridge` adds to its diagonal.

        Raises:
            DataError: all rows are equal, so no distance is defined.
        """
        from sklearn.covariance import ledoit_wolf

        m, k = x.shape
        mean = x.mean(axis=0, dtype=np.float64)
        unit = unit_of(x - mean)
        gap = (x - mean) / unit
        covariance = ledoit_wolf(gap, assume_centered=True)[0] if shrink else gap.T @ gap / max(m - 1, 1)
        variance = np.trace(covariance) / k
        if not variance > 0:
            raise DataError(f"the {m} reference rows to learn from are all equal; a reference needs spread")
        # Constant columns get a share of the mean variance that float32 rounding cannot reach.
        root = cholesky(covariance + (ridge + 1e-6 * variance) * np.eye(k), lower=True)
        few = f"the covariance of {k} dimensions is learnt from only {m} rows, " + (
            "so it is mostly shrinkage" if shrink else "so it is singular and its distances mean little"
        )
        return cls(mean, root, unit, (few,) if m <= k else ())

    @cached_property
    def _whitening(self) -> Array:
        """`(k, k)`: rows that it is multiplied to have the identity for covariance.

        A product takes half as long as a triangular solve, and the root's condition is bounded: no digits are lost.
        """
        return np.asarray(solve_triangular(self.root, np.eye(len(self.root)), lower=True, check_finite=False).T)

    def squared_distance(self, x: Array, *, chunk: int = 2048) -> Array:
        """Return the squared Mahalanobis distance of each row, `(n,)`."""
        out = np.empty(len(x))
        for start in range(0, len(x), chunk):  # what is computed stays in the cache
            z = ((x[start : start + chunk] - self.mean) / self.unit) @ self._whitening
            out[start : start + chunk] = np.einsum("nk,nk->n", z, z)
        return out
