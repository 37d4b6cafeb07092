"""DBSCAN whose memory does not grow with the density of the rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import KDTree

from embrm.core.arrays import Array, BoolArray, IntArray

TREE = 15  # dimensions up to which a tree finds neighbours quicker than products of matrices
BLOCK = 1 << 22  # distances in memory at once


def distinct(x: Array) -> tuple[IntArray, IntArray, IntArray]:
    """Return (first row of each distinct row, which distinct row each row is, how often each occurs)."""
    rows = np.ascontiguousarray(x + 0.0)  # -0 and 0 are one number of two bit patterns
    _, first, inverse, counts = np.unique(
        rows.view(np.dtype((np.void, rows.dtype.itemsize * rows.shape[1]))).ravel(),
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    return first, inverse, counts


def nearest(x: Array, to: Array, *, k: int) -> tuple[Array, IntArray]:
    """Return the distances of each row of `x (n, d)` to its `k` nearest rows of `to (m, d)`, ascending, and which.

    Detectors compare a few hundred rows dozens of times: a library's checks of its arguments would take longer.
    """
    return NearestRows.among(to).of(x, k=k)


@dataclass(frozen=True, eq=False)
class NearestRows:
    """Rows among which the nearest are looked for, prepared once for all that look.

    Attributes:
        tree: of the rows, where they have few dimensions.
        origin: `(d,)` their mean.
        rows: `(m, d)` less that.
        square: `(m,)` their squared lengths then.
    """

    tree: KDTree | None
    origin: Array
    rows: Array
    square: Array

    @classmethod
    def among(cls, to: Array) -> NearestRows:
        """Prepare rows `(m, d)`."""
        if to.shape[1] <= TREE:
            return cls(KDTree(to), to[:0], to[:0], to[:0])
        origin = to.mean(axis=0, dtype=np.float64)
        rows = to - origin
        return cls(None, origin, rows, np.einsum("mk,mk->m", rows, rows))

    def of(self, x: Array, *, k: int) -> tuple[Array, IntArray]:
        """Return what `nearest` does."""
        if self.tree is not None:
            distance, found = self.tree.query(x, k=np.arange(1, k + 1))
            return np.asarray(distance), np.asarray(found)
        rows = x - self.origin
        distance, found = np.empty((len(x), k)), np.empty((len(x), k), dtype=np.int64)
        step = max(BLOCK // len(self.rows), 1)
        for some in (slice(start, start + step) for start in range(0, len(x), step)):
            gap = rows[some] @ self.rows.T
            gap *= -2
            gap += self.square
            if k == 1:
                found[some] = gap.argmin(axis=1)[:, None]
                distance[some] = np.take_along_axis(gap, found[some], axis=1)
                continue
            near = np.argpartition(gap, k - 1, axis=1)[:, :k] if k < len(self.rows) else np.argsort(gap, axis=1)
            off = np.take_along_axis(gap, near, axis=1)
            order = np.argsort(off, axis=1)
            distance[some], found[some] = (np.take_along_axis(y, order, axis=1) for y in (off, near))
        distance += np.einsum("nk,nk->n", rows, rows)[:, None]
        return np.sqrt(np.maximum(distance, 0.0)), found


def dbscan(x: Array, *, eps: float, min_samples: int) -> IntArray:
    """Return a cluster of each row `(n,)`, counted from 0, or -1 for noise (Ester et al. 1996).

    A library's DBSCAN keeps every pair of neighbours, which for a collapsed policy is every pair there is. Here only
    edges between components that are still apart are kept, block by block: memory O(n). A border row, which the
    definition leaves to the order of the rows, joins the cluster of its nearest core row.
    """
    first, inverse, weight = distinct(x)
    points = x[first].astype(np.float64)
    points -= points.mean(axis=0)
    core = _core(points, weight, eps=eps, min_samples=min_samples)
    labels = np.full(len(points), -1)
    if core.any():
        labels[core] = _components(points[core], eps=eps)
        if not core.all():
            distance, index = nearest(points[~core], points[core], k=1)
            labels[~core] = np.where(distance <= eps, labels[core][index], -1)[:, 0]
    return labels[inverse]


def _core(points: Array, weight: IntArray, *, eps: float, min_samples: int) -> BoolArray:
    # Every distinct row weighs at least 1, so the nearest min_samples of them decide.
    distance, index = nearest(points, points, k=min(min_samples, len(points)))
    return np.asarray((weight[index] * (distance <= eps)).sum(axis=1) >= min_samples)


def _components(points: Array, *, eps: float, block: int = 256) -> IntArray:
    """Return the connected component of each row in the graph of all pairs within `eps`."""
    n = len(points)
    component = np.arange(n)
    square = np.einsum("nk,nk->n", points, points)
    for start in range(0, n, block):
        rows = np.arange(start, min(start + block, n))
        others = np.arange(start, n)
        if (component[rows] == component[start]).all():  # a component has no edges to itself worth looking for
            others = others[component[start:] != component[start]]
        gap = points[rows] @ points[others].T
        gap *= -2
        gap += square[others]
        near = gap <= eps**2 - square[rows, None]
        if len(others) == n <= block:
            return np.unique(_joined(near), return_inverse=True)[1]
        near &= component[rows, None] != component[others]
        i, j = np.nonzero(near)
        if len(i):
            edges = (np.ones(len(i), dtype=bool), (component[rows[i]], component[others[j]]))
            merged = connected_components(coo_array(edges, shape=(n, n)), directed=False)[1]
            component = merged.astype(np.int64)[component]
    return np.unique(component, return_inverse=True)[1]


def _joined(near: BoolArray) -> IntArray:
    """Return the first row that each row `(n,)` of a graph `(n, n)` is connected with, itself included.

    A library's sparse graph takes longer to make than a few hundred rows to join.
    """
    n = len(near)
    component = np.arange(n)
    while True:
        least = np.minimum(np.where(near, component, n).min(axis=1), component)
        least = least[least]
        if (least == component).all():
            return component
        component = least
