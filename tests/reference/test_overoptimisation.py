"""Over-optimisation measures on paths whose law, peak and threshold are known."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, cast

import numpy as np
import pytest
from scipy import integrate, optimize, special, stats

from embrm import bestofn
from embrm.bestofn.scaling_law import extrapolate, fit_gao, peak
from embrm.bestofn.threshold import hack_threshold
from embrm.core.arrays import Array
from embrm.errors import DataError, OptionError

KL = bestofn.kl_bound([1, 2, 4, 8, 16, 32, 64, 128, 256])
D = np.sqrt(KL)
LAW = {"bon": D * (2 - 0.6 * D), "rl": D * (2 - 0.9 * np.log(np.where(D > 0, D, 1)))}
PEAK = {"bon": (2 / 1.2) ** 2, "rl": np.exp(2 * (2 / 0.9 - 1))}
BETA = {"bon": 0.6, "rl": 0.9}


def noisy(path: Array, *, prompts: int = 200, sd: float = 1.0, seed: int = 0) -> Array:
    """The path under noise that neighbouring points of a prompt share in part, as on real curves."""
    steps = np.random.default_rng(seed).normal(scale=sd, size=(prompts, len(path)))
    return np.asarray(path + np.cumsum(steps, axis=1) / np.sqrt(len(path)))


@pytest.mark.parametrize("form", ["bon", "rl"])
def test_gao_fit_recovers_the_law(form: Any) -> None:
    gain = LAW[form] + np.random.default_rng(0).normal(size=(30, 1)) * LAW[form]
    gain += LAW[form] - gain.mean(axis=0)
    fit = fit_gao(KL, gain, form=form, seed=0)
    np.testing.assert_allclose([fit.alpha.estimate, fit.beta.estimate], [2, BETA[form]])
    np.testing.assert_allclose(fit.peak_kl.estimate, PEAK[form])
    np.testing.assert_allclose(fit.residual, 0, atol=1e-12)
    np.testing.assert_allclose(fit.predict(KL), LAW[form], atol=1e-12)
    # The stated peak is where the prediction is highest.
    far = optimize.minimize_scalar(lambda x: -float(fit.predict(x)), bounds=(0.01, 30.0), method="bounded")
    np.testing.assert_allclose(far.x, PEAK[form], rtol=1e-3)


@pytest.mark.parametrize("form", ["bon", "rl"])
def test_gao_intervals_cover_the_law_at_their_level(form: Any) -> None:
    covered = []
    for seed in range(150):
        fit = fit_gao(KL, noisy(LAW[form], seed=seed), form=form, seed=seed, draws=400)
        covered.append([fit.alpha.low <= 2 <= fit.alpha.high, fit.beta.low <= BETA[form] <= fit.beta.high])
    share = np.mean(covered, axis=0)
    assert (share > 0.88).all()
    assert (share < 0.99).all()


def test_a_law_that_never_turns_has_its_peak_at_infinity() -> None:
    fit = fit_gao(KL, noisy(D * (2 + 0.6 * D), sd=0.1), form="bon", seed=0)
    assert fit.beta.high < 0
    assert fit.peak_kl.low == fit.peak_kl.high == np.inf


def test_gao_fit_takes_seeds_as_a_second_way() -> None:
    effect = np.random.default_rng(0).normal(size=(1, 12, 1))
    gain = np.broadcast_to(LAW["bon"] * (1 + 0.2 * effect), (50, 12, len(D)))
    fit = fit_gao(KL, gain, form="bon", seed=0)
    # All prompts agree, so the seeds alone make the interval: α scatters by 0.2 · 2.
    wide = 2 * stats.t.ppf(0.975, 11) * 0.4 * effect.std(ddof=1) / np.sqrt(12)
    np.testing.assert_allclose(fit.alpha.high - fit.alpha.low, wide, rtol=0.15)


def test_extrapolation_of_the_law_is_right_and_beats_staying_flat() -> None:
    law = LAW["bon"]
    found = extrapolate(KL, noisy(law, prompts=2000, sd=0.2), points=7, form="bon", seed=0)
    assert found.error.low <= 0 <= found.error.high
    np.testing.assert_allclose(found.observed.estimate, law[-1], atol=0.02)
    np.testing.assert_allclose(found.flat_error.estimate, law[6] - law[-1], atol=0.02)
    np.testing.assert_allclose(found.predicted.estimate - found.observed.estimate, found.error.estimate)
    assert found.advantage.low > 0


def test_a_flat_path_has_no_significant_peak() -> None:
    drops = [peak(noisy(np.zeros(9), prompts=80, seed=s), seed=s, draws=400).drop for s in range(300)]
    assert np.mean([d.low > 0 for d in drops]) < 0.06
    middle = np.array([d.estimate for d in drops])
    assert abs(middle.mean()) < 4 * middle.std() / np.sqrt(len(middle))
    # What the cross-fitting is for: located and measured on the same prompts, a drop is always "there".
    naive = [(y := noisy(np.zeros(9), prompts=80, seed=s).mean(axis=0)).max() - y[-1] for s in range(300)]
    assert np.mean(naive) > 4 * np.std(naive) / np.sqrt(300)


def test_a_planted_peak_is_found_with_its_gain_and_drop() -> None:
    path = np.array([0, 1, 2, 3, 2.5, 1, 0.5])
    found = peak(noisy(path, prompts=400), seed=0)
    assert found.at == 3
    assert found.drop.low < 2.5 < found.drop.high
    assert found.gain.low < 3 < found.gain.high
    assert found.drop.n == 400
    alike = peak(np.repeat(noisy(path, prompts=50), 8, axis=0), seed=0, cluster=np.repeat(np.arange(50), 8))
    alone = peak(noisy(path, prompts=50), seed=0)
    assert (alike.drop.high - alike.drop.low) == pytest.approx(alone.drop.high - alone.drop.low, rel=0.1)


def test_threshold_known_answer_on_a_uniform_rank() -> None:
    """Gold u¹²(1 - u): best-of-n is worth n/(n + 12) - n/(n + 13) = n/((n + 12)(n + 13)), highest at n² = 12·13."""
    u = (np.arange(20_000) + 0.5) / 20_000
    gold = u**12 * (1 - u)
    n = hack_threshold(u, gold)
    np.testing.assert_allclose(n, np.sqrt(12 * 13), atol=1e-3)
    assert f"{n:.3f}" == "12.490"
    c = bestofn.curve(u, gold, [np.sqrt(156)], pool="support")
    np.testing.assert_allclose(c.gold[0], 1 / (np.sqrt(12) + np.sqrt(13)) ** 2, rtol=1e-6)
    whole = bestofn.curve(u, gold, [11, 12, 13, 14], pool="support").gold
    np.testing.assert_allclose(whole, [n / ((n + 12) * (n + 13)) for n in (11, 12, 13, 14)], rtol=1e-6)
    # 12 and 13 tie: 12/(24·25) = 13/(25·26) = 1/50.
    np.testing.assert_allclose(whole[1:3], 1 / 50, rtol=1e-6)


def test_threshold_of_poisson_is_the_stationary_point_of_its_integral() -> None:
    u = (np.arange(20_000) + 0.5) / 20_000

    def worth(m: float) -> float:
        return float(
            integrate.quad(lambda x: x**12 * (1 - x) * (1 + m * x) * np.exp(m * (x - 1)), 0, 1, epsabs=1e-13)[0]
        )

    expected = optimize.minimize_scalar(
        lambda m: -worth(m), bounds=(1.0, 60.0), method="bounded", options={"xatol": 1e-8}
    )
    np.testing.assert_allclose(hack_threshold(u, u**12 * (1 - u), rule="poisson"), expected.x, rtol=1e-4)


def test_threshold_of_the_tilt_is_where_its_path_turns() -> None:
    rng = np.random.default_rng(0)
    sizes = [40, 60, 60]
    bounds = np.concatenate([[0], np.cumsum(sizes)])
    proxy = rng.normal(size=160)
    gold = proxy - 0.4 * proxy**2 + 0.1 * rng.normal(size=160)
    t = hack_threshold(proxy, gold, rule="tilt", offsets=bounds)
    around = 1 / (t * np.array([0.98, 1, 1.02]))
    c = bestofn.tilt_curve(proxy, gold, around, offsets=bounds)
    assert c.gold.argmax() == 1

    def worth(x: float) -> float:
        pools = [slice(a, b) for a, b in pairwise(bounds)]
        return -float(np.mean([special.softmax(x * proxy[p]) @ gold[p] for p in pools]))

    found = optimize.minimize_scalar(worth, bounds=(0.01, 10.0), method="bounded", options={"xatol": 1e-9})
    np.testing.assert_allclose(t, found.x, rtol=1e-5)


def test_threshold_of_best_of_n_over_ragged_tied_pools_is_where_the_curve_turns() -> None:
    rng = np.random.default_rng(1)
    bounds = np.array([0, 30, 60, 100])
    proxy = np.round(rng.normal(size=100), 1)
    gold = proxy - 0.5 * np.maximum(proxy, 0) ** 2
    n = hack_threshold(proxy, gold, offsets=bounds)
    c = bestofn.curve(proxy, gold, n * np.array([0.99, 1, 1.01]), pool="support", offsets=bounds)
    assert 1 < n < 30
    assert c.gold.argmax() == 1


@pytest.mark.parametrize("rule", ["best", "poisson", "tilt"])
def test_threshold_is_infinite_without_a_turn_and_smallest_when_gold_only_falls(rule: Any) -> None:
    proxy = np.random.default_rng(0).normal(size=(3, 20))
    assert hack_threshold(proxy, proxy, rule=rule) == np.inf
    assert hack_threshold(proxy, np.full((3, 20), 0.1), rule=rule) == np.inf
    assert hack_threshold(np.ones((3, 20)), proxy, rule=rule) == np.inf
    assert hack_threshold(proxy, -proxy, rule=rule) == (1.0 if rule == "best" else 0.0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda y: fit_gao(KL, y[0], form="bon", seed=0), DataError, r"gain must be \(prompts, k\) or"),
        (lambda y: fit_gao(KL[:4], y, form="bon", seed=0), DataError, r"got \(5, 9\) and \(4,\)"),
        (lambda y: fit_gao(-KL, y, form="bon", seed=0), DataError, "kl must be >= 0 with at least two points above"),
        (lambda y: fit_gao(KL, y, form=cast(Any, "log"), seed=0), OptionError, "form must be 'bon' or 'rl', got 'log'"),
        (lambda y: extrapolate(KL, y, points=9, form="rl", seed=0), OptionError, "points must be inside 2..8"),
        (lambda y: peak(y[:3], seed=0), DataError, "at least 4 prompts, or clusters of them, got"),
        (
            lambda y: hack_threshold(y, y, rule=cast(Any, "worst")),
            OptionError,
            "rule must be 'best', 'poisson' or 'tilt'",
        ),
        (lambda y: hack_threshold(y, y, high=1), OptionError, "high must be finite and above 1"),
        (lambda y: hack_threshold(y[:, :1], y[:, :1]), OptionError, "high must be finite and above 1"),
    ],
)
def test_bad_input_is_refused_with_the_way_out(
    call: Callable[..., object], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        call(np.ones((5, 9)))
