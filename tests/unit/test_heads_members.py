"""What each of the further heads is for, on data where the answer is planted."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from embrm import Features, Pairs, heads
from embrm.errors import DataError, OptionError, UnknownNameError
from embrm.heads.ebrm import Density
from tests.planted import planted


@pytest.fixture(scope="module")
def split() -> tuple[Pairs, Pairs, np.ndarray]:
    pairs, reward = planted()
    held = pairs.prompt >= 30
    return pairs.take(~held), pairs.take(held), reward


def brme(stage2: str, split: tuple[Pairs, Pairs, np.ndarray], **options: Any) -> Any:
    trunk = heads.get("mlp")(patience=0, batch_size=64, **options.pop("trunk", {}))
    made = {"name": stage2, "options": {} if stage2 == "marginal_bt" else {"refits": 8}}
    recipe = heads.get("brme")(trunk=trunk, stage2=made, members=3, **options)
    return recipe.fit(split[0], seed=0, validation=split[1])


def test_sampled_mse_collapses_and_the_other_two_losses_do_not(split: tuple[Pairs, Pairs, np.ndarray]) -> None:
    """The literal second stage drives σ to its floor on every text; a σ that says nothing ranks no heads."""
    options: dict[str, Any] = {"learning_rate": 0.1, "sigma_floor": 0.03}
    for name in ("gaussian_nll", "marginal_bt"):
        options["trunk"] = {"epochs": 40, "hidden": (32,)}
        told = brme(name, split, **options).diagnose(split[1])
        assert told["sigma_mean"] > 0.15, name
        assert told["sigma_sd"] > 0.03, name
        assert told["sigma_at_floor"] < 0.05, name
    told = brme("sampled_mse", split, **options).diagnose(split[1])
    assert told["sigma_at_floor"] > 0.9
    assert told["sigma_sd"] < 0.02
    assert told["coverage"] < 0.6  # of a nominal 0.9


def test_brme_tells_mean_and_sd_and_its_diagnostics(split: tuple[Pairs, Pairs, np.ndarray]) -> None:
    _, held, reward = split
    model = brme("gaussian_nll", split)
    scored = model.score(held.features)
    assert scored.kind == "members"
    assert scored.sigma is not None
    assert scored.sigma.shape == scored.draws.shape == (3, len(held.features))
    told = model.record["diagnostics"]
    assert told == model.diagnose(held)
    assert 0.5 < told["head_correlation"] <= 1
    assert model.diagnose(held, reward=reward)["coverage"] > 0.5
    assert model.diagnose(held, reward=3 * reward + 7) == pytest.approx(model.diagnose(held, reward=reward), rel=1e-6)
    assert model.diagnose(held, level=0.5)["coverage"] < model.diagnose(held, level=0.99)["coverage"]
    with pytest.raises(OptionError, match="level must be inside"):
        model.diagnose(held, level=90)


def test_brme_trains_its_trunk_further_when_asked(split: tuple[Pairs, Pairs, np.ndarray]) -> None:
    frozen, free = brme("gaussian_nll", split), brme("gaussian_nll", split, freeze_trunk=False)
    x = split[1].features
    np.testing.assert_array_equal(frozen.latent(x, member=0), frozen.latent(x, member=2))
    assert np.abs(free.latent(x, member=0) - free.latent(x, member=2)).max() > 1e-3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stage2": "mse"}, "no stage2 named 'mse'"),
        ({"stage2": {"name": "gaussian_nll", "options": {"refits": 4}}}, "refits must be >= 8"),
        ({"stage2": {"name": "marginal_bt", "options": {"prior": 0.0}}}, "prior must be inside"),
        ({"sigma_floor": 0.0}, "sigma_floor must be inside"),
        ({"diversity": "rank"}, "diversity must be seed or bootstrap, got 'rank'"),
        ({"members": 0}, "members must be >= 1"),
        ({"trunk": heads.get("linear")()}, "trunk must be an 'mlp' with members=1"),
        ({"trunk": heads.get("mlp")(members=2)}, "trunk must be an 'mlp' with members=1"),
    ],
)
def test_brme_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises((OptionError, UnknownNameError), match=message):
        heads.get("brme")(**options)


def with_length(seed: int = 0) -> tuple[Pairs, np.ndarray]:
    """Return pairs whose labels follow a quality and, as much, the length; both stand in the features."""
    rng = np.random.default_rng(seed)
    prompt = np.repeat(np.arange(300), 8)
    quality, length = rng.normal(size=(2, len(prompt)))
    x = np.stack([quality, length, *rng.normal(size=(4, len(prompt)))], axis=1) @ rng.normal(size=(6, 10))
    i = rng.integers(150, size=3000) * 8 + rng.integers(8, size=3000)
    j = i // 8 * 8 + (i + rng.integers(1, 8, size=3000)) % 8
    liked = 2 * (quality + length)
    wins = rng.random(3000) < 1 / (1 + np.exp(liked[j] - liked[i]))
    features = Features({"joint": x}, prompt=prompt, length=100 + 20 * length)
    return Pairs(features, np.where(wins, i, j), np.where(wins, j, i)), quality


def test_odin_removes_a_planted_length_effect() -> None:
    pairs, quality = with_length()
    held = pairs.features.prompt >= 150  # of which there are no pairs
    odin = heads.get("odin")().fit(pairs, seed=0).score(pairs.features).mean
    plain = heads.get("mlp")().fit(pairs, seed=0).score(pairs.features).mean
    length = pairs.features.length
    assert length is not None
    assert abs(np.corrcoef(odin[held], length[held])[0, 1]) < 0.1
    assert np.corrcoef(plain[held], length[held])[0, 1] > 0.4
    assert np.corrcoef(odin[held], quality[held])[0, 1] > 0.8


def test_odin_needs_lengths_and_sensible_options() -> None:
    pairs, _ = planted(pairs=50)
    bare = replace(pairs, features=replace(pairs.features, length=None))
    with pytest.raises(DataError, match="have no lengths"):
        heads.get("odin")().fit(bare, seed=0)
    with pytest.raises(OptionError, match="latent_dim must be >= 2"):
        heads.get("odin")(latent_dim=1)


def test_the_energy_density_integrates_to_one_and_recovers_a_planted_noise() -> None:
    pairs, _ = planted()
    model: Any = heads.get("ebrm")(noise=0.3).fit(pairs, seed=0)
    density = model.density(pairs.features)
    np.testing.assert_allclose(density.probability.sum(axis=1), 1, rtol=1e-6)
    planted_sd = 0.3 * 3.5 * model.scale[1]  # ν of the positives, in the units of the base
    np.testing.assert_allclose(np.median(density.sd), planted_sd, rtol=0.2)
    base = model.base.score(pairs.features).centred().mean
    assert np.corrcoef(density.mean, base)[0, 1] > 0.98
    wide: Any = heads.get("ebrm")(noise=0.3, penalty=0.05).fit(pairs, seed=0)
    assert np.median(wide.density(pairs.features).sd) / wide.scale[1] > 1.3 * 0.3 * 3.5
    scored = model.score(pairs.features)
    assert scored.sigma is not None
    np.testing.assert_allclose(scored.sigma[0], density.sd, rtol=1e-6)
    np.testing.assert_allclose(scored.draws[0], density.mean, rtol=1e-6)
    mode = replace(model, head=replace(model.head, point="mode")).score(pairs.features).draws[0]
    np.testing.assert_allclose(mode, density.mode, rtol=1e-6)


def test_a_density_gives_the_moments_and_quantiles_of_a_gaussian() -> None:
    grid = np.linspace(-6, 6, 2001)[None] * 2 + 1
    probability = np.exp(-(((grid - 1) / 2) ** 2) / 2)
    density = Density(grid, probability / probability.sum())
    np.testing.assert_allclose([density.mean[0], density.mode[0], density.sd[0]], [1, 1, 2], atol=1e-3)
    np.testing.assert_allclose(density.quantile(0.975), 1 + 1.96 * 2, atol=0.02)
    with pytest.raises(OptionError, match="level must be inside"):
        density.quantile(1.0)


def test_ebrm_needs_pairs_that_its_base_orders_correctly() -> None:
    pairs, _ = planted(pairs=40)
    untrained = heads.get("mlp")(learning_rate=0.0, patience=0)
    reward = untrained.fit(pairs, seed=0).score(pairs.features).mean
    wrong = reward[pairs.chosen] < reward[pairs.rejected]
    low, high = np.where(wrong, pairs.chosen, pairs.rejected), np.where(wrong, pairs.rejected, pairs.chosen)
    with pytest.raises(DataError, match="orders none of 40 pairs"):
        heads.get("ebrm")(base=untrained).fit(replace(pairs, chosen=low, rejected=high), seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"view": "response"}, "view must be that of the base"),
        ({"point": "median"}, "point must be"),
        ({"noise": 0.0}, "noise must be inside"),
        ({"negatives": 0}, "negatives, hidden and steps"),
    ],
)
def test_ebrm_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        heads.get("ebrm")(**options)


def test_dropout_draws_are_functions_and_spread_with_the_rate() -> None:
    pairs, _ = planted(pairs=300)
    spread = []
    for rate in (0.05, 0.5):
        model = heads.get("dropout")(rate=rate, passes=20).fit(pairs, seed=0)
        scored = model.score(pairs.features)
        assert scored.kind == "posterior"
        assert scored.draws.shape == (20, len(pairs.features))
        # A draw is one function: a text scored alone gets the same draws as among others.
        alone = model.score(pairs.features.matrix("joint")[5:6])
        np.testing.assert_allclose(alone.draws[:, 0], scored.draws[:, 5], rtol=1e-4, atol=1e-6)
        spread.append(scored.centred().sd.mean() / scored.mean.std())
    assert spread[0] < spread[1]


@pytest.mark.parametrize(
    ("options", "message"), [({"rate": 0.0}, "rate must be inside"), ({"passes": 0}, "passes, latent_dim and hidden")]
)
def test_dropout_refuses(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        heads.get("dropout")(**options)


def test_bnrm_rewards_are_sums_of_parts_that_are_not_negative() -> None:
    pairs, _ = planted(pairs=200)
    model = heads.get("bnrm")(members=2).fit(pairs, seed=0)
    parts = model.latent(pairs.features, member=1)
    assert parts.min() >= 0
    np.testing.assert_allclose(parts.sum(axis=1), model.score(pairs.features).draws[1], rtol=1e-4)
    with pytest.raises(OptionError, match="factors and hidden must be >= 1"):
        heads.get("bnrm")(eta=-1.0)
