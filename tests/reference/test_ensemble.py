"""Ensembles are their members, one by one; wrapped heads survive saving and configuration files."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from pydantic import TypeAdapter

from embrm import Features, Pairs, Problem, heads, load_model
from embrm.errors import ConvergenceError, DataError, OptionError, UnknownNameError
from embrm.heads import Head
from embrm.heads.ensemble import Ensemble
from tests.planted import planted


def two_views(**options: Any) -> tuple[Pairs, np.ndarray]:
    pairs, reward = planted(**options)
    x = pairs.features.matrix("joint")
    views = {"a:joint": x, "b:joint": np.tanh(x)[:, :9]}
    return Pairs(Features(views, prompt=pairs.features.prompt), pairs.chosen, pairs.rejected), reward


def test_seed_members_are_fits_of_the_base_with_seeds_of_their_own() -> None:
    pairs, _ = planted(pairs=200)
    base = heads.get("mlp")(epochs=2, hidden=(8,))
    reward = heads.get("ensemble")(base=base, members=3).fit(pairs, seed=4).score(pairs.features)
    seeds = [int(np.random.SeedSequence([4, k]).generate_state(1)[0]) for k in range(3)]
    alone = [base.fit(pairs, seed=seed).score(pairs.features).draws[0] for seed in seeds]
    np.testing.assert_allclose(reward.draws, alone, rtol=1e-3, atol=1e-4)
    assert reward.kind == "members"
    assert reward.centred().sd.mean() > 0.01


def test_bootstraps_of_a_convex_head_differ_and_seeds_of_it_do_not() -> None:
    pairs, _ = planted(pairs=200)
    base = heads.get("linear")(prior_precision=3.0)
    x = pairs.features
    assert heads.get("ensemble")(base=base, diversity="bootstrap").fit(pairs, seed=0).score(x).sd.mean() > 0.05
    np.testing.assert_allclose(heads.get("ensemble")(base=base).fit(pairs, seed=0).score(x).sd, 0, atol=1e-9)


def test_embedder_members_read_their_own_views(tmp_path: Any) -> None:
    pairs, reward = two_views(pairs=300)
    base = heads.get("linear")(prior_precision=3.0)
    model = heads.get("ensemble")(base=base, members=4, diversity="embedder", views=("a:joint", "b:joint")).fit(
        pairs, seed=0
    )
    draws = model.score(pairs.features).draws
    alone = [
        heads.get("linear")(prior_precision=3.0, view=view).fit(pairs, seed=0).score(pairs.features).draws[0]
        for view in ("a:joint", "b:joint")
    ]
    np.testing.assert_allclose(draws, [alone[0], alone[1]] * 2, rtol=1e-6, atol=1e-9)
    assert np.corrcoef(draws.mean(axis=0), reward)[0, 1] > 0.8
    model.save(tmp_path / "model")
    np.testing.assert_allclose(load_model(tmp_path / "model").score(pairs.features).draws, draws, rtol=1e-6)


def test_an_ensemble_of_posteriors_is_a_mixture(tmp_path: Any) -> None:
    pairs, _ = planted(pairs=150)
    base = heads.get("laplace")(base=heads.get("mlp")(epochs=2, hidden=(8,)), draws=6)
    model = heads.get("ensemble")(base=base, members=2).fit(pairs, seed=0)
    reward = model.score(pairs.features)
    assert reward.kind == "posterior"
    assert reward.draws.shape == (12, len(pairs.features))
    assert not np.allclose(model.latent(pairs.features, member=5), model.latent(pairs.features, member=6))
    np.testing.assert_array_equal(model.latent(pairs.features, member=0), model.latent(pairs.features, member=5))
    model.save(tmp_path / "model")  # three levels of heads
    loaded = load_model(tmp_path / "model")
    assert loaded.head == model.head
    np.testing.assert_allclose(loaded.score(pairs.features).draws, reward.draws, rtol=1e-5, atol=1e-6)


def test_rank_bonus_members_are_trained_together() -> None:
    pairs, _ = planted(pairs=200)
    base = heads.get("mlp")(epochs=4, hidden=(8,))
    plain = heads.get("ensemble")(base=base, members=3).fit(pairs, seed=0)
    model: Any = heads.get("ensemble")(base=base, members=3, diversity="rank_bonus", bonus=10.0).fit(pairs, seed=0)
    assert model.score(pairs.features).draws.shape == (3, len(pairs.features))

    def relative_rank(layers: list[np.ndarray]) -> float:
        values = np.linalg.svd(np.concatenate(layers, axis=1), compute_uv=False)
        return float(values.sum() / np.sqrt((values**2).sum()))

    (net,) = model.models
    apart = [m.params["input.weight"][0] for m in plain.models]  # type: ignore[attr-defined]
    assert relative_rank(list(net.params["input.weight"])) > relative_rank(apart)


def test_members_of_many_problems_are_those_of_each_alone() -> None:
    pairs, _ = planted(pairs=200)
    recipe = heads.get("ensemble")(base=heads.get("linear")(), members=2, diversity="bootstrap")
    together = recipe.fit_many([Problem(pairs, 0), Problem(pairs, 7)])
    for seed, model in zip((0, 7), together, strict=True):
        alone = recipe.fit(pairs, seed=seed)
        np.testing.assert_allclose(model.score(pairs.features).draws, alone.score(pairs.features).draws, rtol=1e-9)


def test_wrapped_heads_go_through_json_and_configuration() -> None:
    recipe = heads.get("ensemble")(
        base=heads.get("laplace")(base=heads.get("mlp")(hidden=(8, 4))), members=2, diversity="bootstrap"
    )
    assert Head.of(json.loads(json.dumps(recipe.config()))) == recipe
    adapter: TypeAdapter[Any] = TypeAdapter(Ensemble)
    typed = adapter.validate_python({"base": {"name": "mlp", "options": {"hidden": [4]}}, "members": 3})
    assert typed == heads.get("ensemble")(base=heads.get("mlp")(hidden=(4,)), members=3)
    assert adapter.validate_python({"base": "linear"}).base == heads.get("linear")()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"members": 1}, "members must be >= 2"),
        ({"diversity": "luck"}, "diversity must be one of seed, bootstrap, embedder, rank_bonus, got 'luck'"),
        ({"diversity": "embedder"}, "needs at least two, got"),
        ({"views": ("a", "b")}, "views are for diversity 'embedder'"),
        ({"diversity": "rank_bonus", "base": heads.get("linear")()}, "needs a head trained by gradient, got 'linear'"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        heads.get("ensemble")(**options)


def test_one_prompt_has_no_bootstraps() -> None:
    pairs, _ = planted(pairs=50)
    alone = Pairs(
        Features(pairs.features.views, prompt=np.zeros(len(pairs.features), dtype=int)), pairs.chosen, pairs.rejected
    )
    base = heads.get("linear")(prior_precision=1.0)
    with pytest.raises(DataError, match="a bootstrap over prompts needs 2 prompts or more"):
        heads.get("ensemble")(base=base, diversity="bootstrap").fit(alone, seed=0)


@pytest.mark.filterwarnings("ignore:Encountered NaN")  # Pyro's word for it
def test_a_member_that_diverges_is_reported() -> None:
    pairs, _ = planted(pairs=100)
    base = heads.get("mlp")(learning_rate=1e30, epochs=3, hidden=(8,))
    with pytest.raises(ConvergenceError, match="finite"):
        heads.get("ensemble")(base=base, members=2).fit(pairs, seed=0)


def test_what_is_no_head_is_refused() -> None:
    with pytest.raises(OptionError, match="a head is a name or"):
        Head.of({"head": "linear"})
    with pytest.raises(UnknownNameError, match="Did you mean 'linear'"):
        Head.of("liner")


def test_members_with_a_sigma_of_their_own_keep_it() -> None:
    pairs, _ = planted(pairs=150)
    base = heads.get("brme")(trunk=heads.get("mlp")(epochs=2), members=2)
    alone = base.fit(pairs, seed=0).score(pairs.features)
    reward = heads.get("ensemble")(base=base, members=2).fit(pairs, seed=0).score(pairs.features)
    assert alone.sigma is not None
    assert reward.sigma is not None
    assert reward.sigma.shape == reward.draws.shape == (4, len(pairs.features))
    assert reward.sigma.min() > 0
