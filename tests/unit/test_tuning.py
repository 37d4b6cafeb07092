"""Tuning finds planted options, spends the same on every head, and looks at validation prompts alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from embrm import Features, Pairs, Problem, heads
from embrm.core.recipe import changed
from embrm.errors import ConvergenceError, DataError, OptionError
from embrm.heads import FittedHead, Head
from embrm.heads.linear import Linear
from embrm.training.tuning import tune
from tests.planted import planted


@dataclass(frozen=True, kw_only=True)
class Recording(Linear):
    """A linear head that notes the prompts it was trained on; it diverges under a tiny prior."""

    def fit_many(self, problems: Sequence[Problem]) -> list[FittedHead]:
        if self.prior_precision is not None and self.prior_precision < 1:
            raise ConvergenceError("it was told to")
        SEEN.append([set(p.pairs.prompt.tolist()) for p in problems])
        return super().fit_many(problems)

    def space(self) -> dict[str, Any]:
        return {"prior_precision": (1e-3, 1.0, 1e6)}


SEEN: list[list[set[int]]] = []


def few_pairs_of_many_columns() -> Pairs:
    return planted(pairs=150, width=60)[0]


def test_the_right_prior_is_found_and_every_trial_returned() -> None:
    SEEN.clear()
    pairs = few_pairs_of_many_columns()
    found = tune(Recording(prior_precision=1e6), pairs, budget=10, seed=0, splits=3)
    assert found.best.prior_precision == 1.0  # type: ignore[attr-defined]
    assert found.trials[0].options == {}
    assert len(found.trials) == 3  # two others: the given one is not tried twice
    (failed,) = [t for t in found.trials if t.error]
    assert (failed.options, failed.error) == ({"prior_precision": 1e-3}, "it was told to")
    assert all(t.accuracy > 0.5 for t in found.trials if not t.error)
    everything = set(pairs.prompt.tolist())
    assert len(SEEN) == 2
    assert all(len(splits) == 3 and all(seen < everything for seen in splits) for splits in SEEN)
    assert SEEN[0] == SEEN[1]  # all recipes see the same splits
    json.dumps(found.as_dict()["trials"], allow_nan=False)


def test_the_numbers_are_those_of_the_validation_prompts() -> None:
    pairs = few_pairs_of_many_columns()
    found = tune(heads.get("linear")(prior_precision=10.0), pairs, budget=1, seed=5, splits=1)
    train, validation = pairs.split(0.2, seed=5)
    reward = heads.get("linear")(prior_precision=10.0).fit(train, seed=5).score(pairs.features).mean
    margin = reward[validation.chosen] - reward[validation.rejected]
    (trial,) = found.trials
    np.testing.assert_allclose(trial.accuracy, np.mean(margin > 0))
    grid = np.exp(np.linspace(-3, 3, 2001))
    np.testing.assert_allclose(trial.nll, np.logaddexp(0, -margin / grid[:, None]).mean(axis=1).min(), atol=1e-5)


def test_options_of_a_wrapped_head_are_tuned() -> None:
    base = heads.get("linear")()
    recipe = heads.get("ensemble")(base=base, members=2, diversity="bootstrap")
    assert "base.prior_precision" in recipe.space()
    twice = heads.get("ensemble")(base=recipe, members=2)
    assert changed(twice, {"base.base.prior_precision": 4.0, "members": 3}) == heads.get("ensemble")(
        base=heads.get("ensemble")(base=heads.get("linear")(prior_precision=4.0), members=2, diversity="bootstrap"),
        members=3,
    )
    found = tune(recipe, planted(pairs=200)[0], budget=3, seed=0, splits=1)
    assert len(found.trials) == 3
    assert isinstance(found.best, type(recipe))


@pytest.mark.parametrize("name", heads.names())
def test_every_space_holds_options_that_the_head_takes(name: str) -> None:
    recipe: Head = heads.get(name)()
    for option, values in recipe.space().items():
        assert len(values) > 1
        assert all(changed(recipe, {option: value}).options() for value in values)


def test_the_same_seed_tries_the_same() -> None:
    pairs, _ = planted(pairs=200)
    one, two = (tune("linear", pairs, budget=4, seed=3, splits=1) for _ in range(2))
    assert [t.options for t in one.trials] == [t.options for t in two.trials]
    assert [t.nll for t in one.trials] == [t.nll for t in two.trials]


def test_bad_input_is_refused() -> None:
    pairs, _ = planted(pairs=100)
    with pytest.raises(OptionError, match="budget and splits must be >= 1"):
        tune("linear", pairs, budget=0, seed=0)
    with pytest.raises(ConvergenceError, match="none of the 1 recipes could be fitted, the first because it was told"):
        tune(Recording(prior_precision=0.5), pairs, budget=1, seed=0)
    x = pairs.features.matrix("joint")
    alone = Pairs(Features({"joint": x}, prompt=np.zeros(len(x), dtype=int)), pairs.chosen, pairs.rejected)
    with pytest.raises(DataError, match="all pairs belong to one prompt"):
        tune("linear", alone, budget=2, seed=0)


def test_a_fixed_option_stays_while_others_are_tried() -> None:
    head = heads.get("mlp")(hidden=(8,), epochs=1)
    found = tune(head, few_pairs_of_many_columns(), budget=6, seed=0, fixed=("hidden",))
    assert len(found.trials) == 6
    assert {trial.recipe.options()["hidden"][0] for trial in found.trials} == {8}
    assert len({trial.recipe.options()["learning_rate"] for trial in found.trials}) > 1


def test_a_winner_at_an_end_of_its_space_is_marked() -> None:
    pairs = few_pairs_of_many_columns()
    found = tune(Recording(prior_precision=1e6), pairs, budget=1, seed=0)
    assert found.edges == ["prior_precision"]
    assert found.as_dict()["edges"] == ["prior_precision"]
    assert tune(Recording(prior_precision=10.0), pairs, budget=1, seed=0).edges == []
    assert tune(Recording(), pairs, budget=1, seed=0).edges == []  # None finds its own
