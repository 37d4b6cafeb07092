"""The classifier of pairs under scikit-learn's own checks, grid search by prompt, and clone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.exceptions import SkipTestWarning
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.utils.estimator_checks import check_estimator, parametrize_with_checks
from sklearn.utils.validation import check_is_fitted, validate_data

from embrm import heads
from embrm.core.arrays import Array, BoolArray, IntArray
from embrm.errors import DataError
from embrm.integrations.sklearn import PairClassifier, _components
from tests.planted import planted


class Flat(PairClassifier):
    """Rows `(n, d)` as pairs whose difference they are, so that scikit-learn's checks, which make rows, apply."""

    def fit(self, X: Any, y: Any, *, prompt: Any = None, sample_weight: Any = None) -> Flat:
        x, y = validate_data(self, X, y, dtype=np.float64)
        super().fit(np.stack([x, -x], axis=1) / 2, y, prompt=prompt, sample_weight=sample_weight)
        return self

    def _margins(self, X: Any) -> Array:
        check_is_fitted(self)
        x = validate_data(self, X, dtype=np.float64, reset=False)
        return super()._margins(np.stack([x, -x], axis=1) / 2)

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.three_d_array = False
        return tags


EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": "weights are relative to their mean, so a pair of weight 0 still "
    "counts against the prior, and it counts for the scale of the features",
}


@parametrize_with_checks(
    [Flat(heads.get("linear")(prior_precision=1.0))], expected_failed_checks=lambda _: EXPECTED, xfail_strict=True
)
def test_checks_of_scikit_learn(estimator: Any, check: Any) -> None:
    check(estimator)


def test_checks_of_scikit_learn_without_data() -> None:
    with pytest.warns(SkipTestWarning, match="Can't test estimator PairClassifier"):
        results = check_estimator(PairClassifier(), on_fail=None)
    assert {r["status"] for r in results} == {"passed"}


def pairs_as_arrays(**options: Any) -> tuple[Array, BoolArray, IntArray]:
    """Planted pairs `(n, 2, d)` in an order that tells nothing, whether the first won, and their prompts."""
    pairs, _ = planted(**options)
    x = pairs.features.matrix("joint")
    first = np.random.default_rng(0).random(len(pairs)) < 0.5
    a, b = np.where(first, pairs.chosen, pairs.rejected), np.where(first, pairs.rejected, pairs.chosen)
    return np.stack([x[a], x[b]], axis=1), first, pairs.prompt


def test_it_is_the_head_and_the_logistic_regression_of_differences() -> None:
    x, y, prompt = pairs_as_arrays(pairs=300)
    model = PairClassifier(heads.get("linear")(prior_precision=2.0)).fit(x, y, prompt=prompt)
    scale = x.reshape(-1, x.shape[2]).std(axis=0)
    d = (x[:, 0] - x[:, 1]) / scale
    peer = LogisticRegression(C=0.5, fit_intercept=False, tol=1e-8).fit(d, y)
    np.testing.assert_allclose(model.decision_function(x), peer.decision_function(d), atol=1e-3)
    np.testing.assert_allclose(model.predict_proba(x), peer.predict_proba(d), atol=1e-3)
    assert model.score(x, y) == peer.score(d, y)


def test_exchanging_the_texts_exchanges_the_classes() -> None:
    x, y, prompt = pairs_as_arrays(pairs=200)
    labels = np.where(y, "first", "another")
    model = PairClassifier("laplace").fit(x, labels, prompt=prompt)
    np.testing.assert_array_equal(model.classes_, ["another", "first"])
    np.testing.assert_allclose(model.predict_proba(x[:, ::-1]), model.predict_proba(x)[:, ::-1], atol=1e-9)
    assert np.mean(model.predict(x) == labels) > 0.7


def test_grid_search_by_prompt_finds_the_prior() -> None:
    x, y, prompt = pairs_as_arrays(pairs=150, width=60)
    linear = heads.get("linear")
    search = GridSearchCV(
        PairClassifier(),
        {"head": [linear(prior_precision=v) for v in (1e-3, 3.0, 1e6)]},
        cv=GroupKFold(4),
        scoring="neg_log_loss",
    )
    search.fit(x, y, groups=prompt, prompt=prompt)
    assert search.best_params_["head"] == linear(prior_precision=3.0)
    assert search.best_estimator_.model_.record["prior_precision"] == 3.0
    folds = cross_val_score(search.best_estimator_, x, y, groups=prompt, cv=GroupKFold(4), params={"prompt": prompt})
    assert folds.mean() > 0.55


def test_clones_are_unfitted_copies() -> None:
    x, y, prompt = pairs_as_arrays(pairs=150)
    model = PairClassifier({"name": "mlp", "options": {"hidden": [8], "epochs": 2}}, seed=3).fit(x, y, prompt=prompt)
    copy = clone(model)
    assert not hasattr(copy, "model_")
    assert copy.get_params() == model.get_params()
    np.testing.assert_array_equal(copy.fit(x, y, prompt=prompt).predict_proba(x), model.predict_proba(x))


def test_without_prompts_pairs_that_share_a_vector_go_together() -> None:
    a, b, c, d, e = np.eye(5, dtype=np.float32)
    pairs = np.stack([np.stack(p) for p in [(a, b), (c, d), (b, e), (d, c)]])
    group = _components(pairs)
    assert group[0] == group[2] != group[1] == group[3]


def test_sample_weights_leave_pairs_out() -> None:
    x, y, prompt = pairs_as_arrays(pairs=200)
    both, labels = np.concatenate([x, x]), np.concatenate([y, ~y])
    weight = np.repeat([1.0, 0.0], 200)
    model = PairClassifier().fit(both, labels, prompt=np.concatenate([prompt, prompt]), sample_weight=weight)
    assert model.score(x, y) > 0.7


def test_bad_input_is_refused() -> None:
    x, y, _ = pairs_as_arrays(pairs=50)
    with pytest.raises(DataError, match=r"X must be pairs of vectors \(n, 2, d\) with d >= 1, got shape \(50, 12\)"):
        PairClassifier().fit(x[:, 0], y)
    with pytest.raises(DataError, match="y must have two classes, got one class"):
        PairClassifier().fit(x, np.ones(50))
    with pytest.raises(DataError, match="Only binary classification is supported"):
        PairClassifier().fit(x, np.arange(50) % 3)
    model = PairClassifier().fit(x, y)
    with pytest.raises(DataError, match="X has 11 features, but PairClassifier is expecting 12"):
        model.predict(x[:, :, :11])
