"""Trees as arrays against scikit-learn's own scores; ties; few pairs."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from embrm import Pairs, heads
from embrm.errors import OptionError
from embrm.heads._forest import Forest
from tests.planted import planted


def test_scores_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 6)).astype(np.float32)
    x[:, 3] = np.round(x[:, 3])  # ties at thresholds
    x[:, 4] = 0.5
    label = x[:, 0] * x[:, 1] + 0.5 * rng.normal(size=500) > 0
    model = HistGradientBoostingClassifier(max_iter=30, max_leaf_nodes=9).fit(x, label)
    fresh = np.concatenate([x, 3 * rng.normal(size=(500, 6)).astype(np.float32)])
    np.testing.assert_allclose(Forest.of(model, 30)(fresh), model.decision_function(fresh), rtol=1e-9, atol=1e-9)
    staged = list(model.staged_decision_function(fresh))
    np.testing.assert_allclose(Forest.of(model, 7)(fresh), staged[6], rtol=1e-9, atol=1e-9)


def test_without_validation_it_is_the_classifier_of_winners_and_losers() -> None:
    pairs, _ = planted(pairs=200)
    one_prompt = Pairs.from_arrays(
        pairs.features.matrix("joint"), chosen=pairs.chosen, rejected=pairs.rejected, prompt=np.zeros(320, dtype=int)
    )
    with pytest.warns(UserWarning, match="one prompt"):
        model = heads.get("boosting")(iterations=20, columns=1.0).fit(one_prompt, seed=0)
    x = pairs.features.matrix("joint")
    peer = HistGradientBoostingClassifier(
        max_iter=20, max_leaf_nodes=8, learning_rate=0.05, l2_regularization=1.0, max_bins=32, early_stopping=False
    ).fit(x[np.concatenate([pairs.chosen, pairs.rejected])], np.repeat([1, 0], 200))
    np.testing.assert_allclose(model.score(x).mean, peer.decision_function(x), rtol=1e-9, atol=1e-9)


def test_it_learns_what_no_linear_reward_can() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4000, 4))
    reward = 4 * np.abs(x[:, 0])
    a, b = np.arange(0, 4000, 2), np.arange(1, 4000, 2)
    wins = rng.random(2000) < 1 / (1 + np.exp(reward[b] - reward[a]))
    pairs = Pairs.from_arrays(x, chosen=np.where(wins, a, b), rejected=np.where(wins, b, a))
    correlation = {
        name: np.corrcoef(heads.get(name)().fit(pairs, seed=0).score(x).mean, reward)[0, 1]
        for name in ("boosting", "linear")
    }
    assert correlation["boosting"] > 0.9
    assert abs(correlation["linear"]) < 0.3


def test_the_number_of_trees_is_that_of_least_validation_loss() -> None:
    pairs, _ = planted(pairs=300)
    held = pairs.prompt >= 30
    recipe = heads.get("boosting")(iterations=60, learning_rate=0.4)
    model = recipe.fit(pairs.take(~held), seed=0, validation=pairs.take(held))
    losses = []
    for count in range(1, 61):
        cut = heads.get("boosting")(iterations=count, learning_rate=0.4)
        grown: Any = cut._grow(pairs.take(~held), None, seed=int(np.random.default_rng(0).integers(1 << 32)))  # type: ignore[attr-defined]
        reward = grown(pairs.features.matrix("joint"))
        z = reward[pairs.chosen[held]] - reward[pairs.rejected[held]]
        losses.append(np.logaddexp(0, -z).mean())
    assert model.record["trees"] == [int(np.argmin(losses)) + 1]
    assert 1 < model.record["trees"][0] < 60


def test_members_are_bootstraps() -> None:
    pairs, _ = planted(pairs=300)
    model: Any = heads.get("boosting")(members=3, iterations=20).fit(pairs, seed=0)
    reward = model.score(pairs.features)
    assert reward.kind == "members"
    assert np.corrcoef(reward.draws).max(initial=0, where=~np.eye(3, dtype=bool)) < 0.999


def test_too_few_texts_for_two_leaves_give_one_reward_for_all() -> None:
    pairs, _ = planted(pairs=5)
    np.testing.assert_allclose(heads.get("boosting")().fit(pairs, seed=0).score(pairs.features).sd, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"members": 0}, "members must be >= 1"),
        ({"leaves": 1}, "leaves must be >= 2"),
        ({"bins": 256}, "bins must be <= 255"),
        ({"columns": 0.0}, "columns must be a share"),
        ({"learning_rate": 0.0}, "learning_rate must be > 0"),
        ({"validation_fraction": 1.0}, "validation_fraction must be inside"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        heads.get("boosting")(**options)
