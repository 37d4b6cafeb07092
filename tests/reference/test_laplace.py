"""Laplace's mean, covariance and evidence against finite differences, brute force and hand-made cases."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.optimize import minimize, minimize_scalar
from scipy.special import expit, roots_hermitenorm

from embrm import Features, Pairs, heads
from embrm.core.arrays import Array
from embrm.errors import ConvergenceError, OptionError
from embrm.heads import _evidence, _newton
from tests.planted import planted


def differences(pairs: Pairs) -> tuple[Array, Array]:
    """Differences over features of unit variance (on the texts of the pairs), and that scale, in float64."""
    x = pairs.features.matrix("joint").astype(np.float64)
    scale = x[np.unique(np.concatenate([pairs.chosen, pairs.rejected]))].std(axis=0)
    return (x[pairs.chosen] - x[pairs.rejected]) / scale, scale


def penalised(theta: Array, d: Array, precision: float) -> float:
    return float(np.logaddexp(0, -d @ theta).sum() + 0.5 * precision * theta @ theta)


def numeric_hessian(theta: Array, d: Array, precision: float, step: float = 1e-3) -> Array:
    eye = step * np.eye(len(theta))
    f = [[[penalised(theta + s * a + t * b, d, precision) for b in eye] for a in eye] for s, t in SIGNS]
    return np.asarray((np.array(f[0]) - f[1] - f[2] + f[3]) / (4 * step**2))


SIGNS = [(1, 1), (1, -1), (-1, 1), (-1, -1)]


def exact_evidence(d: Array, log_precision: float) -> float:
    """Laplace's log evidence from a generic optimiser and a Hessian written out again."""
    precision = np.exp(log_precision)
    found = minimize(penalised, np.zeros(d.shape[1]), args=(d, precision), method="BFGS", options={"gtol": 1e-7})
    p = expit(d @ found.x)
    hessian = d.T @ ((p * (1 - p))[:, None] * d) + precision * np.eye(d.shape[1])
    return float(-found.fun + 0.5 * d.shape[1] * log_precision - 0.5 * np.linalg.slogdet(hessian)[1])


@pytest.mark.parametrize("precision", [0.5, 20.0])
def test_mean_and_covariance_are_those_of_the_numeric_optimum(precision: float) -> None:
    pairs, _ = planted(pairs=150, width=5)
    model: Any = heads.get("laplace")(prior_precision=precision).fit(pairs, seed=0)
    d, scale = differences(pairs)
    theta = minimize(penalised, np.zeros(5), args=(d, precision), options={"gtol": 1e-8}).x
    np.testing.assert_allclose(model.theta * scale, theta, atol=1e-4)
    covariance = np.linalg.inv(numeric_hessian(theta, d, precision)) / np.outer(scale, scale)
    np.testing.assert_allclose(model.covariance, covariance, rtol=1e-3, atol=1e-4 * covariance.max())


@pytest.mark.parametrize(("pairs", "width"), [(60, 5), (300, 12), (40, 30)])
def test_the_prior_has_the_highest_evidence(pairs: int, width: int) -> None:
    data, _ = planted(pairs=pairs, width=width)
    model = heads.get("laplace")().fit(data, seed=0)
    d, _ = differences(data)
    best = minimize_scalar(lambda v: -exact_evidence(d, v), bounds=(-4, 6), method="bounded", options={"xatol": 1e-4})
    assert abs(np.log(model.record["prior_precision"]) - best.x) < 0.01
    np.testing.assert_allclose(model.record["log_evidence"], -best.fun, atol=1e-3)
    assert not model.record["at_bound"]


def test_draws_have_the_exact_mean_and_nearly_the_covariance() -> None:
    pairs, _ = planted(pairs=200, width=6)
    model: Any = heads.get("laplace")(draws=20_000).fit(pairs, seed=0)
    reward = model.score(pairs.features)
    assert reward.kind == "posterior"
    margins = reward.draws[:, pairs.chosen] - reward.draws[:, pairs.rejected]
    mean, sd = model.difference(pairs)
    np.testing.assert_allclose(margins.mean(axis=0), mean, atol=1e-6)
    np.testing.assert_allclose(margins.std(axis=0), sd, rtol=0.04)


def test_probability_of_winning_is_the_mean_over_the_posterior() -> None:
    pairs, _ = planted(pairs=60, width=6)
    model: Any = heads.get("laplace")(prior_precision=0.3).fit(pairs, seed=0)
    mean, sd = model.difference(pairs)
    nodes, weights = roots_hermitenorm(60)
    exact = expit(mean[:, None] + sd[:, None] * nodes) @ weights / weights.sum()
    np.testing.assert_allclose(model.win_probability(pairs), exact, atol=0.02)
    assert np.abs(expit(mean) - exact).max() > 0.04  # without the correction it would not do


def separable(width: int) -> Pairs:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(200, width))
    swap = x[0::2, 0] < x[1::2, 0]
    a, b = np.arange(0, 200, 2), np.arange(1, 200, 2)
    return Pairs.from_arrays(x, chosen=np.where(swap, b, a), rejected=np.where(swap, a, b))


def test_separable_pairs_are_bounded_by_the_prior() -> None:
    pairs = separable(3)
    for precision in (1e-3, 1.0, None):
        reward = heads.get("laplace")(prior_precision=precision).fit(pairs, seed=0).score(pairs.features)
        assert np.isfinite(reward.draws).all()
        assert np.all(reward.mean[pairs.chosen] > reward.mean[pairs.rejected])


def test_the_evidence_of_separable_pairs_is_found_too() -> None:
    """There the loss is far from quadratic, and the search would run back and forth without its bracket."""
    model = heads.get("laplace")().fit(separable(20), seed=0)
    d, _ = differences(separable(20))
    best = max(exact_evidence(d, v) for v in np.log(model.record["prior_precision"]) + np.linspace(-3, 3, 13))
    np.testing.assert_allclose(model.record["log_evidence"], best, atol=2e-3)
    assert heads.get("laplace")().fit(separable(2), seed=0).record["at_bound"]


def test_searches_that_do_not_come_to_rest_say_so() -> None:
    pairs, _ = planted(pairs=200)
    data = _newton.Data.of(pairs.features.matrix("joint"), pairs, scale=np.ones(12))
    with pytest.raises(ConvergenceError, match="the search for the prior precision has not come to rest after 1 steps"):
        _evidence.search(data, steps=1)
    with pytest.raises(ConvergenceError, match="the linear fit has not converged after 1 Newton steps"):
        _newton.fit(data, precision=1.0, steps=1)


def test_more_columns_than_pairs_leave_the_prior_where_nothing_was_seen() -> None:
    pairs, _ = planted(pairs=20, width=50)
    model: Any = heads.get("laplace")(prior_precision=4.0).fit(pairs, seed=0)
    d, scale = differences(pairs)
    unseen = np.linalg.svd(d)[2][-1]  # orthogonal to all differences
    covariance = model.covariance * np.outer(scale, scale)
    np.testing.assert_allclose(unseen @ covariance @ unseen, 1 / 4.0, rtol=1e-3)


def test_pairs_all_in_one_direction_are_fitted() -> None:
    x = np.random.default_rng(0).normal(size=(80, 4)) + np.repeat([[1.0], [0.0]], 40, axis=0)
    pairs = Pairs.from_arrays(x, chosen=np.arange(40), rejected=np.arange(40, 80))
    model = heads.get("laplace")().fit(pairs, seed=0)
    assert model.score(x).mean[:40].mean() > model.score(x).mean[40:].mean()


def test_on_a_trained_head_it_is_the_posterior_over_that_latent() -> None:
    pairs, _ = planted(pairs=300)
    base = heads.get("mlp")(epochs=3, hidden=(16, 8))
    model: Any = heads.get("laplace")(base=base, prior_precision=2.0).fit(pairs, seed=4)
    latent = base.fit(pairs, seed=4).latent(pairs.features)
    on_latent: Any = heads.get("laplace")(prior_precision=2.0).fit(
        Pairs(Features({"joint": latent}, prompt=pairs.features.prompt), pairs.chosen, pairs.rejected), seed=4
    )
    np.testing.assert_allclose(model.latent(pairs.features), latent)
    np.testing.assert_allclose(model.score(pairs.features).draws, on_latent.score(latent).draws, rtol=1e-5, atol=1e-5)


def test_a_laplace_on_a_trained_head_is_saved_and_loaded(tmp_path: Any) -> None:
    from embrm import load_model

    pairs, _ = planted(pairs=200)
    features = Features({"response": pairs.features.matrix("joint")}, prompt=pairs.features.prompt)
    pairs = Pairs(features, pairs.chosen, pairs.rejected)
    recipe = heads.get("laplace")(base=heads.get("inform")(epochs=2, view="response"))
    model: Any = recipe.fit(pairs, seed=0)
    model.save(tmp_path / "model")
    loaded: Any = load_model(tmp_path / "model")
    assert loaded.head == recipe
    assert loaded.base.record == model.base.record
    np.testing.assert_allclose(loaded.score(features).draws, model.score(features).draws, rtol=1e-6)
    np.testing.assert_allclose(loaded.win_probability(pairs), model.win_probability(pairs), rtol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior_precision": 0.0}, "prior_precision must be > 0"),
        ({"draws": 7}, "draws must be even"),
        ({"base": heads.get("inform")(view="response"), "view": "prompt"}, "view must be that of the base, 'response'"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        heads.get("laplace")(**options)


def test_a_base_of_many_members_has_no_one_latent() -> None:
    pairs, _ = planted(pairs=100)
    with pytest.raises(OptionError, match="got a head of 3 members"):
        heads.get("laplace")(base=heads.get("linear")(members=3)).fit(pairs, seed=0)


def test_more_columns_than_pairs_give_the_posterior_of_all_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, _ = planted(pairs=20, width=48)
    wide: Any = heads.get("laplace")(prior_precision=3.0, draws=20_000).fit(pairs, seed=0)
    assert wide.root.shape == (48, 20)
    monkeypatch.setattr(_newton.Data, "spanned", lambda self: (self, None))
    plain: Any = heads.get("laplace")(prior_precision=3.0).fit(pairs, seed=0)
    assert plain.root.shape == (48, 48)
    np.testing.assert_allclose(wide.theta, plain.theta, atol=1e-6)
    np.testing.assert_allclose(wide.covariance, plain.covariance, atol=1e-6)
    for mine, theirs in zip(wide.difference(pairs), plain.difference(pairs), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-6)
    drawn = np.cov(wide.coefficients.T)
    np.testing.assert_allclose(drawn, plain.covariance, atol=0.05 * plain.covariance.max())


def test_evidence_and_linear_fits_do_not_depend_on_the_span(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, _ = planted(pairs=24, width=40)
    spanned = [heads.get(name)().fit(pairs, seed=0) for name in ("laplace", "linear")]
    monkeypatch.setattr(_newton.Data, "spanned", lambda self: (self, None))
    plain = [heads.get(name)().fit(pairs, seed=0) for name in ("laplace", "linear")]
    for mine, theirs in zip(spanned, plain, strict=True):
        # The search stops within 1e-3 of log λ, from differences in single and in double precision.
        assert mine.record["prior_precision"] == pytest.approx(theirs.record["prior_precision"], rel=1e-2)
        expected = theirs.score(pairs.features).mean
        np.testing.assert_allclose(mine.score(pairs.features).mean, expected, atol=5e-3 * np.abs(expected).max())


@pytest.mark.parametrize("name", ["linear", "laplace", pytest.param("hmc", marks=pytest.mark.slow)])
def test_wide_features_take_memory_by_their_rows(name: str) -> None:
    """A Hessian of these columns would take 27 GB."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((40, 60_000)).astype(np.float32)
    prompt = np.tile(np.arange(10).repeat(2), 2)
    pairs = Pairs.from_arrays(x, chosen=np.arange(20), rejected=np.arange(20, 40), prompt=prompt)
    reward = heads.get(name)(prior_precision=100.0).fit(pairs, seed=0).score(x)
    assert np.isfinite(reward.draws).all()
    assert (reward.mean[:20] > reward.mean[20:]).mean() > 0.9
