"""DBSCAN whose memory does not grow with the density of the rows."""

from __future__ import annotations

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from embrm.core.arrays import Array, BoolArray, IntArray


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


def nearest_distances(x: Array, *, k: int) -> Array:
    """Return the distances of each row to its `k` nearest other rows `(n, k)`, ascending."""
    from sklearn.neighbors import NearestNeighbors

    return np.asarray(NearestNeighbors(n_neighbors=k).fit(x).kneighbors()[0])


def dbscan(x: Array, *, eps: float, min_samples: int) -> IntArray:
    """Return a cluster of each row `(n,)`, counted from 0, or -1 for noise (Ester et al. 1996).

    A library's DBSCAN keeps every pair of neighbours, which for a collapsed policy is every pair there is. Here only
    edges between components that are still apart are kept, block by block: memory O(n). A border row, which the
    definition leaves to the order of the rows, joins the cluster of its nearest core row.
    """
    from sklearn.metrics import pairwise_distances_argmin_min

    first, inverse, weight = distinct(x)
    points = x[first].astype(np.float64)
    points -= points.mean(axis=0)
    core = _core(points, weight, eps=eps, min_samples=min_samples)
    labels = np.full(len(points), -1)
    if core.any():
        labels[core] = _components(points[core], eps=eps)
        if not core.all():
            index, distance = pairwise_distances_argmin_min(points[~core], points[core])
            labels[~core] = np.where(distance <= eps, labels[core][index], -1)
    return labels[inverse]


def _core(points: Array, weight: IntArray, *, eps: float, min_samples: int) -> BoolArray:
    from sklearn.neighbors import NearestNeighbors

    # Every distinct row weighs at least 1, so the nearest min_samples of them decide.
    nearest = NearestNeighbors(n_neighbors=min(min_samples, len(points))).fit(points)
    distance, index = nearest.kneighbors(points)
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
        near &= component[rows, None] != component[others]
        i, j = np.nonzero(near)
        if len(i):
            edges = (np.ones(len(i), dtype=bool), (component[rows[i]], component[others[j]]))
            merged = connected_components(coo_array(edges, shape=(n, n)), directed=False)[1]
            component = merged.astype(np.int64)[component]
    return np.unique(component, return_inverse=True)[1]
