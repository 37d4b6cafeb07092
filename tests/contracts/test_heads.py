"""The laws of every head, over the registry: a new file in heads/ is tested by standing there."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pyro
import pytest
import torch

from embrm import Pairs, Problem, heads, load_model
from embrm.errors import ConvergenceError, DataError, EmbrmError
from embrm.heads.brme import GaussianNll
from tests.planted import planted

NAMES = heads.names()
# Heads that are slow by nature are tested with less of what makes them slow.
QUICK: dict[str, dict[str, Any]] = {
    "ebrm": {"steps": 150},
    "brme": {"trunk": heads.get("mlp")(epochs=12), "stage2": GaussianNll(refits=8), "members": 3},
    "hmc": {"draws": 40, "warmup": 25, "chains": 2},
}


def recipe(name: str) -> heads.Head:
    return heads.get(name)(**QUICK.get(name, {}))


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_finite_of_the_right_shape_and_beat_chance(name: str) -> None:
    pairs, _ = planted()
    model = recipe(name).fit(pairs, seed=0)
    test, truth = planted(seed=0, prompts=40)
    scored = model.score(test.features)
    assert scored.draws.shape == (model.members, len(test.features))
    assert np.isfinite(scored.draws).all()
    assert scored.reference is not None
    latent = model.latent(test.features)
    assert latent.ndim == 2
    assert len(latent) == len(test.features)
    assert np.isfinite(latent).all()
    accuracy = np.mean(scored.mean[test.chosen] > scored.mean[test.rejected])
    assert accuracy > 0.75
    assert np.corrcoef(scored.mean, truth)[0, 1] > 0.6


@pytest.mark.parametrize("name", NAMES)
def test_beats_chance_on_prompts_that_it_has_not_seen(name: str) -> None:
    pairs, reward = planted()
    held = pairs.prompt >= 30
    model = recipe(name).fit(pairs.take(~held), seed=0)
    test = pairs.take(held)
    mean = model.score(test.features).mean
    assert np.mean(reward[test.chosen] > reward[test.rejected]) > 0.7  # the labels carry the reward
    assert np.mean(mean[test.chosen] > mean[test.rejected]) > 0.65


@pytest.mark.parametrize("name", NAMES)
def test_same_seed_same_answer_and_no_global_state_touched(name: str) -> None:
    pairs, _ = planted(pairs=200)
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    pyro.get_param_store().clear()
    pyro.param("mine", torch.tensor(1.0))
    numpy_before, torch_before = np.random.get_state(legacy=False)["state"]["key"].copy(), torch.get_rng_state()  # noqa: NPY002
    first = recipe(name).fit(pairs, seed=5)
    second = recipe(name).fit(pairs, seed=5)
    np.testing.assert_array_equal(np.random.get_state(legacy=False)["state"]["key"], numpy_before)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_before)
    assert list(pyro.get_param_store().keys()) == ["mine"]
    np.testing.assert_array_equal(first.score(pairs.features).draws, second.score(pairs.features).draws)


@pytest.mark.parametrize("name", NAMES)
def test_reindexing_the_rows_changes_nothing(name: str) -> None:
    pairs, _ = planted(pairs=200)
    order = np.random.default_rng(0).permutation(len(pairs.features))
    place = np.argsort(order)
    shuffled = Pairs(pairs.features.take(order), place[pairs.chosen], place[pairs.rejected])
    first = recipe(name).fit(pairs, seed=1).score(pairs.features).mean
    second = recipe(name).fit(shuffled, seed=1).score(pairs.features).mean
    np.testing.assert_allclose(first, second, atol=1e-3 * first.std())


@pytest.mark.parametrize("name", NAMES)
def test_constant_columns_are_harmless(name: str) -> None:
    pairs, reward = planted(pairs=300)
    x = pairs.features.matrix("joint")
    constant = np.concatenate([x, np.full((len(x), 1), 0.7), np.zeros((len(x), 1))], axis=1)
    features = replace(pairs.features, views={"joint": constant})
    mean = recipe(name).fit(Pairs(features, pairs.chosen, pairs.rejected), seed=0).score(features).mean
    assert np.corrcoef(mean, reward)[0, 1] > 0.6


@pytest.mark.parametrize("name", NAMES)
def test_a_loaded_model_gives_the_scores_of_the_saved_one(name: str, tmp_path: Any) -> None:
    pairs, _ = planted(pairs=200)
    model = recipe(name).fit(pairs, seed=0)
    model.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.head == model.head
    assert loaded.record == model.record
    first, second = model.score(pairs.features), loaded.score(pairs.features)
    np.testing.assert_allclose(first.draws, second.draws, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(first.centred().draws, second.centred().draws, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(model.latent(pairs.features), loaded.latent(pairs.features), rtol=1e-5, atol=1e-6)


def reading(name: str, view: str) -> heads.Head:
    """Return a head with little training that reads a view, itself or by what it wraps."""
    few: dict[str, Any] = {
        "boosting": {"iterations": 5},
        "brme": {"trunk": heads.get("mlp")(epochs=2), "stage2": GaussianNll(refits=8), "members": 2},
        "ebrm": {"steps": 5},
        "hmc": {"draws": 20, "warmup": 10, "chains": 2, "components": 2},
    }
    made = recipe(name) if name not in few else heads.get(name)(**few[name])
    changes: dict[str, Any] = {"epochs": 2} if "epochs" in made.options() else {}
    if (base := getattr(made, "base", None)) is not None:
        changes = {"base": replace(base, view=view, **({"epochs": 2} if "epochs" in base.options() else {}))}
        return replace(made, **changes)
    return replace(made, view=view, **changes)


@pytest.mark.parametrize("name", NAMES)
def test_views_side_by_side_are_read_as_one_view_of_all_their_columns(name: str, tmp_path: Any) -> None:
    pairs, _ = planted(pairs=160)
    x, length = pairs.features.matrix("joint"), pairs.features.length
    assert length is not None
    apart = replace(pairs.features, views={"joint": x[:, :8], "response": x[:, 8:]})
    column = np.log(1 + length)[:, None].astype(np.float32)
    whole = replace(pairs.features, views={"joint": np.concatenate([x[:, :8], x[:, 8:], column], axis=1)})
    view = "joint+response+length"
    model = reading(name, view).fit(replace(pairs, features=apart), seed=0)
    expected = reading(name, "joint").fit(replace(pairs, features=whole), seed=0)
    assert model.widths == {view: 13}
    assert model.head.reads == (view,)
    model.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    assert loaded.head == model.head
    for found in (model, loaded):
        scores, truth = found.score(apart).draws, expected.score(whole).draws
        np.testing.assert_allclose(scores, truth, rtol=1e-4, atol=1e-4 * truth.std())
        np.testing.assert_allclose(found.latent(apart), expected.latent(whole), rtol=1e-4, atol=1e-4)
    with pytest.raises(DataError, match="no view 'response' in these features; they have joint"):
        model.score(replace(apart, views={"joint": x}))


@pytest.mark.parametrize("name", NAMES)
def test_fitting_many_equals_fitting_one_by_one(name: str) -> None:
    pairs, _ = planted(pairs=260)
    other, _ = planted(seed=9, pairs=220)
    problems = [Problem(pairs, 0), Problem(pairs, 1), Problem(pairs.take(np.arange(250)), 2), Problem(other, 3)]
    together = recipe(name).fit_many(problems)
    for problem, joint in zip(problems, together, strict=True):
        alone = recipe(name).fit(problem.pairs, seed=problem.seed)
        expected = alone.score(pairs.features).draws
        np.testing.assert_allclose(joint.score(pairs.features).draws, expected, rtol=1e-3, atol=1e-3 * expected.std())


@pytest.mark.parametrize("name", NAMES)
def test_weights_of_zero_leave_pairs_out(name: str) -> None:
    """Pairs with the labels turned around and weight 0 must not turn the reward around."""
    pairs, reward = planted(pairs=300)
    both = Pairs(
        pairs.features,
        np.concatenate([pairs.chosen, pairs.rejected]),
        np.concatenate([pairs.rejected, pairs.chosen]),
        weight=np.concatenate([np.ones(300), np.zeros(300)]),
    )
    mean = recipe(name).fit(both, seed=0).score(pairs.features).mean
    assert np.corrcoef(mean, reward)[0, 1] > 0.6


@pytest.mark.parametrize("name", NAMES)
def test_ties_pull_rewards_together(name: str) -> None:
    pairs, _ = planted(pairs=400)
    tied = Pairs(pairs.features, pairs.chosen, pairs.rejected, tie=np.ones(400, dtype=bool))
    gap = np.abs(np.diff(recipe(name).fit(tied, seed=0).score(pairs.features).mean)).mean()
    untied = np.abs(np.diff(recipe(name).fit(pairs, seed=0).score(pairs.features).mean)).mean()
    assert gap < 0.5 * untied


@pytest.mark.parametrize("name", [name for name in NAMES if getattr(heads.get(name), "distance_aware", False)])
def test_a_distance_aware_head_widens_away_from_the_data(name: str) -> None:
    """Its reward of a text, relative to the training texts, is the less certain the farther away the text is."""
    pairs, _ = planted(pairs=300)
    model = recipe(name).fit(pairs, seed=0)
    x = pairs.features.matrix("joint")
    directions = np.random.default_rng(0).normal(size=(100, x.shape[1]))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    spread = [model.score(x.mean(axis=0) + distance * directions).centred().sd for distance in (1.0, 4.0, 16.0)]
    inside = model.score(pairs.features).centred().sd
    assert np.all(spread[0] < spread[1])
    assert np.all(spread[1] < spread[2])
    assert spread[2].min() > np.quantile(inside, 0.95)


def extremes() -> dict[str, Pairs]:
    """Return pairs at the edges of numbers and of sizes."""
    pairs, _ = planted(prompts=8, responses=4, width=4, pairs=40)
    x = pairs.features.matrix("joint").astype(np.float64)
    arrays: dict[str, np.ndarray] = {
        **{f"times {scale:g}": x * scale for scale in (1e-42, 1e-30, 1e30)},
        "far from zero": x + 1e6,
        "equal": np.ones_like(x),
        "one column": x[:, :1],
        "more columns than pairs": np.random.default_rng(0).normal(size=(len(x), 90)),
        "integers": (x * 10).astype(np.int64),
        "half precision": x.astype(np.float16),
    }
    found = {
        case: Pairs(replace(pairs.features, views={"joint": a}), pairs.chosen, pairs.rejected)
        for case, a in arrays.items()
    }
    first = pairs.prompt == pairs.prompt[0]
    return found | {"one prompt": pairs.take(first), "two pairs": pairs.take(np.arange(2)), "one pair": pairs.take([0])}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # such as that one prompt cannot be split
@pytest.mark.filterwarnings("ignore::numpy.exceptions.RankWarning")  # of rewards that are all equal
@pytest.mark.parametrize("case", extremes())
@pytest.mark.parametrize("name", NAMES)
def test_at_the_edges_a_reward_is_finite_or_the_fit_refused(name: str, case: str) -> None:
    pairs = extremes()[case]
    try:
        model = recipe(name).fit(pairs, seed=0)
        scored = model.score(pairs.features)
    except ConvergenceError:
        return  # said, and nothing is claimed
    except EmbrmError:
        assert case not in ("integers", "half precision", "more columns than pairs", "one column")
        return
    assert np.isfinite(scored.centred().draws).all()
    assert np.isfinite(model.latent(pairs.features)).all()


@pytest.mark.slow  # boosting, at 10 s, and brme, whose members are each fitted again, were tried by hand
@pytest.mark.parametrize(
    "name", [n for n in NAMES if "members" in recipe(n).options() and n not in ("boosting", "brme")]
)
def test_a_thousand_members_are_finite(name: str) -> None:
    pairs, _ = planted(prompts=8, responses=4, width=4, pairs=40)
    head: Any = reading(name, "joint")
    model = replace(head, members=1000).fit(pairs, seed=0)
    draws = model.score(pairs.features).draws
    assert draws.shape == (model.members, 32)
    assert model.members == {"warm": 1, "dropout": 50_000}.get(name, 1000)  # an average; fifty draws of each
    assert np.isfinite(draws).all()


@pytest.mark.slow
def test_columns_beyond_the_pairs_cost_no_square_of_them() -> None:
    """100 000 columns and 50 pairs: a Hessian of the columns would take 74 GiB."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(100, 100_000)).astype(np.float32)
    pairs = Pairs.from_arrays(x, chosen=np.arange(0, 100, 2), rejected=np.arange(1, 100, 2))
    recipes: dict[str, dict[str, Any]] = {
        "linear": {},
        "laplace": {"draws": 4},
        "hmc": {"draws": 60, "warmup": 60, "components": 2},
    }
    for name, options in recipes.items():
        mean = heads.get(name)(**options).fit(pairs, seed=0).score(pairs.features).mean
        assert np.isfinite(mean).all()
        if name != "hmc":  # two components of noise say nothing
            assert np.mean(mean[pairs.chosen] > mean[pairs.rejected]) > 0.95
