"""Heads as scikit-learn classifiers of pairs: for pipelines, cross-validation and grid search."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit, log_expit, logsumexp
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_array
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import _check_sample_weight, check_consistent_length, check_is_fitted, column_or_1d

from embrm.core.arrays import Array, IntArray
from embrm.core.data import Features, Pairs
from embrm.errors import DataError
from embrm.heads import Head


class PairClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """Which of two texts is preferred, by any head: a classifier of pairs `(n, 2, d)`.

    The second of the sorted classes says that the first text of a pair is preferred. To search over options, give
    recipes: `GridSearchCV(PairClassifier(), {"head": [Linear(prior_precision=v) for v in (1.0, 10.0)]},
    cv=GroupKFold()).fit(X, y, groups=prompt, prompt=prompt)`. On differences of rows it passes scikit-learn's estimator
    checks but one: a weight of 0 is not the same as leaving a pair out, because weights are relative to their mean.

    Attributes:
        head: a head's name, a recipe, or `{"name": name, "options": {...}}`.
        seed: determines everything random.
        classes_: `(2,)` the labels.
        n_features_in_: d.
        model_: the fitted head.
    """

    def __init__(self, head: str | Head | Mapping[str, Any] = "linear", *, seed: int = 0) -> None:
        self.head = head
        self.seed = seed

    def fit(
        self,
        X: npt.ArrayLike,
        y: npt.ArrayLike,
        *,
        prompt: npt.ArrayLike | None = None,
        sample_weight: npt.ArrayLike | None = None,
    ) -> PairClassifier:
        """Fit the head.

        Args:
            X: `(n, 2, d)` pairs of vectors.
            y: `(n,)` two classes.
            prompt: `(n,)` which prompt each pair belongs to, for the head's own splits. Without it, pairs that share a
                vector count as one prompt.
            sample_weight: `(n,)` weights of the pairs relative to each other.

        Raises:
            DataError: `X` is not `(n, 2, d)`, or `y` does not have two classes.
        """
        pairs = _checked(X)
        check_consistent_length(pairs, y)
        labels = column_or_1d(y, warn=True)
        check_classification_targets(labels)
        kind = type_of_target(labels, input_name="y", raise_unknown=True)
        if kind != "binary":
            raise DataError(f"Only binary classification is supported. The type of the target is {kind}.")
        classes, number = np.unique(labels, return_inverse=True)
        if len(classes) < 2:
            raise DataError(
                f"y must have two classes, got one class ({classes[0]}): nothing says which text a label prefers; "
                "exchange the texts of some pairs and turn their labels around"
            )
        if prompt is not None:
            prompt = np.unique(column_or_1d(prompt), return_inverse=True)[1]
            check_consistent_length(pairs, prompt)
        weight = None if sample_weight is None else _check_sample_weight(sample_weight, pairs, dtype=np.float64)
        first = 2 * np.arange(len(pairs))
        group = _components(pairs) if prompt is None else prompt
        features = Features({"joint": pairs.reshape(-1, pairs.shape[2])}, prompt=np.repeat(group, 2))
        data = Pairs(features, first + (number == 0), first + (number == 1), weight=weight)
        recipe = Head.of(self.head)
        self.model_ = recipe.fit(data, seed=self.seed)
        self.classes_ = classes
        self.n_features_in_ = pairs.shape[2]
        return self

    def decision_function(self, X: npt.ArrayLike) -> Array:
        """Return the log-odds `(n,)` that the first text is preferred."""
        margin = self._margins(X)
        return np.asarray(logsumexp(log_expit(margin), axis=0) - logsumexp(log_expit(-margin), axis=0))

    def predict_proba(self, X: npt.ArrayLike) -> Array:
        """Return `(n, 2)` probabilities of the classes: means over the head's draws."""
        p = expit(self._margins(X)).mean(axis=0)
        return np.stack([1 - p, p], axis=1)

    def predict(self, X: npt.ArrayLike) -> npt.NDArray[Any]:
        """Return the more probable class of each pair, `(n,)`."""
        first = self.decision_function(X) > 0
        return np.asarray(self.classes_[first.astype(np.int64)])

    def _margins(self, X: npt.ArrayLike) -> Array:
        check_is_fitted(self)
        pairs = _checked(X)
        if pairs.shape[2] != self.n_features_in_:
            raise DataError(
                f"X has {pairs.shape[2]} features, but {type(self).__name__} is expecting {self.n_features_in_} "
                "features as input"
            )
        draws = self.model_.score(pairs.reshape(-1, pairs.shape[2])).draws
        return np.asarray(draws[:, 0::2] - draws[:, 1::2])

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.three_d_array = True
        tags.classifier_tags.multi_class = False
        return tags


def _checked(X: npt.ArrayLike) -> Array:
    pairs: Array = check_array(X, dtype=np.float32, ensure_2d=False, allow_nd=True, order="C", input_name="X")
    if pairs.ndim != 3 or pairs.shape[1] != 2 or pairs.shape[2] == 0:
        raise DataError(f"X must be pairs of vectors (n, 2, d) with d >= 1, got shape {pairs.shape}")
    return pairs


def _components(pairs: Array) -> IntArray:
    """Return a number for each pair, `(n,)`, equal for pairs that share a vector (also through others)."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows = pairs.reshape(-1, pairs.shape[2])
    _, text = np.unique(rows.view(np.dtype((np.void, rows.strides[0]))).ravel(), return_inverse=True)
    first, second = text[0::2], text[1::2]
    edges = coo_array((np.ones(len(pairs)), (first, second)), shape=(text.max() + 1, text.max() + 1))
    return np.asarray(connected_components(edges, directed=False)[1][first], dtype=np.int64)
