"""Boosted regression trees as plain arrays: what a fitted classifier of scikit-learn is saved and scored as."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from embrm.core.arrays import Array, IntArray


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
    def read(cls, arrays: dict[str, Array], prefix: str) -> Forest:
        """Return what `arrays` gave."""
        own: dict[str, Any] = {n.removeprefix(prefix): a for n, a in arrays.items() if n.startswith(prefix)}
        return cls(**own)
