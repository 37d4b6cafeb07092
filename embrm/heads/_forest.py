"""Boosted regression trees as plain arrays: what a fitted classifier of scikit-learn is saved and scored as."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from embrm.core.arrays import Array, IntArray
from embrm.core.results import State
from embrm.errors import DataError


@dataclass(frozen=True, eq=False)
class Forest:
    """A sum of trees. All their nodes stand in one list; a leaf is its own child.

    Attributes:
        root: `(trees,)` nodes at which the trees begin.
        feature: `(nodes,)` the column that a node compares.
        threshold: `(nodes,)` a row with at most this goes to the left.
        left, right: `(nodes,)` nodes.
        value: `(nodes,)` what a leaf adds.
        baseline: `(1,)` the sum of no trees.
    """

    root: IntArray
    feature: IntArray
    threshold: Array
    left: IntArray
    right: IntArray
    value: Array
    baseline: Array

    @classmethod
    def of(cls, model: Any, trees: int) -> Forest:
        """Read the first trees of a fitted HistGradientBoostingClassifier of two classes without categories."""
        # scikit-learn has no public access to these nodes; a test compares the scores with its own.
        nodes = [model._predictors[i][0].nodes for i in range(trees)]
        root = np.cumsum([0, *(len(n) for n in nodes)])[:-1]
        flat = np.concatenate(nodes)
        shift = np.repeat(root, [len(n) for n in nodes])
        leaf = flat["is_leaf"].astype(bool)
        own = np.arange(len(flat))
        return cls(
            root=root,
            feature=np.where(leaf, 0, flat["feature_idx"]),
            threshold=flat["num_threshold"],
            left=np.where(leaf, own, flat["left"] + shift),
            right=np.where(leaf, own, flat["right"] + shift),
            value=flat["value"],
            baseline=np.ravel(model._baseline_prediction),
        )

    def __call__(self, x: Array) -> Array:
        """Return the sum of the trees, `(n,)`, for rows `x (n, d)`."""
        rows = np.arange(len(x))[:, None]
        node = np.broadcast_to(self.root, (len(x), len(self.root)))
        while True:
            left = x[rows, self.feature[node]] <= self.threshold[node]
            below = np.where(left, self.left[node], self.right[node])
            if np.array_equal(below, node):
                return np.asarray(self.baseline[0] + self.value[node].sum(axis=1))
            node = below

    def arrays(self, prefix: str) -> dict[str, Array]:
        """Return the arrays by name."""
        return {prefix + name: array for name, array in asdict(self).items()}

    @classmethod
    def read(cls, state: State, prefix: str, *, width: int) -> Forest:
        """Return what `arrays` gave, of a model that reads rows of `width` columns.

        Raises:
            DataError: they are no trees: nodes are missing, or lead outside the list or back to where they were.
        """
        value = state.array(f"{prefix}value", None)
        nodes = len(value)
        lengths = {"root": None, "feature": nodes, "left": nodes, "right": nodes}
        whole = {name: _whole(state, prefix + name, length) for name, length in lengths.items()}
        own, left, right = np.arange(nodes), whole["left"], whole["right"]
        leaf = (left == own) & (right == own)
        below = (left > own) & (right > own)  # as scikit-learn numbers them, so that no path has a circle
        inside = (np.maximum(left, right) < nodes).all() and (leaf | below).all()
        roots, features = whole["root"], whole["feature"]
        if not (inside and _within(roots, nodes) and _within(features, width)):
            raise DataError("the nodes of the trees lead nowhere, in circles, or read columns that are not there")
        threshold, baseline = state.array(f"{prefix}threshold", nodes), state.array(f"{prefix}baseline", 1)
        return cls(**whole, threshold=threshold, value=value, baseline=baseline)


def _whole(state: State, name: str, length: int | None) -> IntArray:
    """Return an array of whole numbers."""
    found = state.array(name, length)
    if found.dtype.kind not in "iu":
        raise DataError(f"the array '{name}' must hold whole numbers, got {found.dtype}")
    return found.astype(np.int64)


def _within(index: IntArray, size: int) -> bool:
    return bool(((index >= 0) & (index < size)).all())
