"""The laws that every selector obeys, whatever its name."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from typing import Any, get_args

import numpy as np
import pytest

from embrm import bestofn, selectors
from embrm.core.arrays import Array
from embrm.core.results import Reward
from embrm.errors import DataError, OptionError

NAMES = selectors.names()
OFFSETS = np.array([0, 5, 6, 13, 20])
N = 20


def make(name: str) -> Any:
    return selectors.get(name)()


def reward() -> Reward:
    """Four members with free offsets, as a preference likelihood leaves them."""
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(4, N))
    return Reward(draws, "members", sigma=rng.uniform(0.1, 1, size=draws.shape), reference=rng.normal(size=4))


def agreed(values: Array) -> Reward:
    """Four members that say the same."""
    draws = np.tile(values, (4, 1))
    return Reward(draws, "members", sigma=np.random.default_rng(0).uniform(0.1, 1, size=draws.shape))


def penalty() -> Array:
    return np.random.default_rng(9).uniform(size=N)


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def test_one_row_of_each_pool_is_chosen_and_probabilities_sum_to_one(name: str) -> None:
    choice = make(name)(reward(), offsets=OFFSETS, penalty=penalty(), seed=0)
    assert choice.value.shape == choice.probability.shape == (N,)
    assert (choice.index >= OFFSETS[:-1]).all()
    assert (choice.index < OFFSETS[1:]).all()
    assert (choice.probability >= 0).all()
    np.testing.assert_allclose(np.add.reduceat(choice.probability, OFFSETS[:-1]), 1, rtol=1e-12)
    assert (choice.probability[choice.index] > 0).all()


def test_a_pool_of_one_returns_it(name: str) -> None:
    choice = make(name)(reward(), offsets=OFFSETS, penalty=penalty(), seed=0)
    assert choice.index[1] == 5
    np.testing.assert_allclose(choice.probability[5], 1, rtol=1e-12)


def test_permuting_candidates_permutes_the_choice(name: str) -> None:
    r, rng = reward(), np.random.default_rng(1)
    assert r.sigma is not None
    order = np.concatenate([rng.permutation(np.arange(a, b)) for a, b in pairwise(OFFSETS)])
    moved = Reward(r.draws[:, order], r.kind, sigma=r.sigma[:, order], reference=r.reference)
    before = make(name)(r, offsets=OFFSETS, penalty=penalty(), seed=0)
    after = make(name)(moved, offsets=OFFSETS, penalty=penalty()[order], seed=0)
    np.testing.assert_allclose(after.probability, before.probability[order], atol=1e-12)
    if set(before.probability) <= {0.0, 1.0}:
        np.testing.assert_array_equal(order[after.index], before.index)


def test_adding_a_constant_to_all_rewards_changes_nothing(name: str) -> None:
    r = reward()
    moved = Reward(r.draws + 5.25, r.kind, sigma=r.sigma, reference=r.reference)
    before, after = (make(name)(x, offsets=OFFSETS, penalty=penalty(), seed=0) for x in (r, moved))
    np.testing.assert_array_equal(after.index, before.index)
    np.testing.assert_allclose(after.probability, before.probability, atol=1e-9)


def test_the_free_offsets_of_members_change_nothing(name: str) -> None:
    r = reward()
    shift = np.random.default_rng(2).normal(scale=9, size=(4, 1))
    assert r.reference is not None
    moved = Reward(r.draws + shift, r.kind, sigma=r.sigma, reference=r.reference + shift[:, 0])
    before, after = (make(name)(x, offsets=OFFSETS, penalty=penalty(), seed=0) for x in (r, moved))
    np.testing.assert_array_equal(after.index, before.index)
    np.testing.assert_allclose(after.probability, before.probability, atol=1e-9)
    np.testing.assert_allclose(after.value, before.value, atol=1e-9)


def test_without_disagreement_or_penalty_deterministic_rules_are_argmax(name: str) -> None:
    common = np.random.default_rng(3).normal(size=N)
    choice = make(name)(agreed(common), offsets=OFFSETS, penalty=np.zeros(N), seed=0)
    argmax = [a + common[a:b].argmax() for a, b in pairwise(OFFSETS)]
    # A random rule prefers the largest too, though it may choose another.
    preferred = [a + choice.probability[a:b].argmax() for a, b in pairwise(OFFSETS)]
    np.testing.assert_array_equal(preferred, argmax)
    if set(choice.probability) <= {0.0, 1.0}:
        np.testing.assert_array_equal(choice.index, argmax)


def test_when_all_scores_are_tied_every_row_is_as_likely(name: str) -> None:
    choice = make(name)(agreed(np.ones(N)), offsets=OFFSETS, penalty=np.zeros(N), seed=0)
    np.testing.assert_allclose(choice.probability, np.repeat(1 / np.diff(OFFSETS), np.diff(OFFSETS)), atol=1e-12)


def test_without_offsets_all_rows_are_one_pool(name: str) -> None:
    one = make(name)(reward(), penalty=penalty(), seed=0)
    two = make(name)(reward(), offsets=[0, N], penalty=penalty(), seed=0)
    np.testing.assert_array_equal(one.index, two.index)
    np.testing.assert_array_equal(one.probability, two.probability)


def test_empty_pools_are_refused(name: str) -> None:
    with pytest.raises(DataError, match="1 pools are empty"):
        make(name)(reward(), offsets=[0, 5, 5, N], penalty=penalty(), seed=0)


POOLS = np.arange(0, N + 1, 5)  # four pools of five
SIZES = [1, 2, 3, 5]


def curves(name: str, given: Reward, gold: Array, number: Array, **options: Any) -> Iterator[bestofn.Curve]:
    """The rule's curve under each convention that it serves."""
    rule = selectors.get(name)(**options)
    for pool in rule.conventions:
        yield rule.curve(given, gold, SIZES, offsets=POOLS, pool=pool, penalty=number, seed=0)


def gold() -> Array:
    return np.random.default_rng(4).normal(size=N)


def test_a_rule_says_in_which_conventions_it_has_a_curve(name: str) -> None:
    rule = make(name)
    assert rule.conventions
    assert set(rule.conventions) <= set(get_args(bestofn.Convention))
    assert rule.strength in (None, *get_args(bestofn.PathRule))
    usual = rule.curve(reward(), gold(), SIZES, offsets=POOLS, penalty=penalty(), seed=0)
    first = next(curves(name, reward(), gold(), penalty()))
    np.testing.assert_array_equal(usual.gold_per_prompt, first.gold_per_prompt)
    for pool in {"population", "support", "sample"} - set(rule.conventions):
        with pytest.raises(OptionError, match=f"the rule '{name}' has no curve under pool='{pool}'; take pool='"):
            rule.curve(reward(), gold(), SIZES, offsets=POOLS, pool=pool, penalty=penalty(), seed=0)


def test_a_curve_is_finite_and_starts_at_the_reference_policy(name: str) -> None:
    for c in curves(name, reward(), gold(), penalty()):
        np.testing.assert_array_equal(c.sizes, SIZES)
        assert c.gold_per_prompt.shape == c.proxy_per_prompt.shape == (4, len(SIZES))
        assert np.isfinite(c.gold_per_prompt).all()
        assert np.isfinite(c.kl).all()
        assert (c.kl >= -1e-12).all()
        np.testing.assert_allclose(c.pool_mean, gold().reshape(4, 5).mean(axis=1))
        if name != "pessimistic":  # of a single response it may refuse it, and takes another
            error = 0 if c.standard_error is None else c.standard_error[0]
            np.testing.assert_allclose(c.kl[0], 0, atol=1e-12)
            assert abs(c.gold[0] - gold().mean()) <= 4 * error + 1e-9


@pytest.mark.parametrize(("rule", "options"), [*((n, {}) for n in NAMES if n != "poisson"), ("poisson", {"rate": 4.0})])
def test_a_curve_of_the_whole_pool_is_the_rule_s_own_choice(rule: str, options: dict[str, Any]) -> None:
    """Gold weighed by `Choice.probability`; of best-of-Poisson at the same mean number of responses."""
    choice = selectors.get(rule)(**options)(reward(), offsets=POOLS, penalty=penalty(), seed=0)
    own = np.add.reduceat(choice.probability * gold(), POOLS[:-1])
    c = next(curves(rule, reward(), gold(), penalty(), **options))
    if c.standard_error is None:
        np.testing.assert_allclose(c.gold_per_prompt[:, -1], own, atol=1e-9)
    else:
        assert abs(c.gold[-1] - own.mean()) <= 4 * c.standard_error[-1] + 1e-9


def test_permuting_candidates_changes_no_curve(name: str) -> None:
    r, rng = reward(), np.random.default_rng(1)
    assert r.sigma is not None
    order = np.concatenate([rng.permutation(np.arange(a, b)) for a, b in pairwise(POOLS)])
    moved = Reward(r.draws[:, order], r.kind, sigma=r.sigma[:, order], reference=r.reference)
    both = zip(curves(name, r, gold(), penalty()), curves(name, moved, gold()[order], penalty()[order]), strict=True)
    for before, after in both:
        error: Any = 0
        if before.standard_error is not None and after.standard_error is not None:
            error = np.hypot(before.standard_error, after.standard_error)
        assert (abs(after.gold - before.gold) <= 4 * error + 1e-9).all()
        np.testing.assert_allclose(after.kl, before.kl, atol=1e-9)


def test_adding_a_constant_to_all_rewards_changes_no_curve(name: str) -> None:
    r = reward()
    moved = Reward(r.draws + 5.25, r.kind, sigma=r.sigma, reference=r.reference)
    for before, after in zip(*(curves(name, x, gold(), penalty()) for x in (r, moved)), strict=True):
        np.testing.assert_allclose(after.gold_per_prompt, before.gold_per_prompt, atol=1e-9)
        np.testing.assert_allclose(after.kl, before.kl, atol=1e-9)


def test_a_curve_of_gold_itself_rises(name: str) -> None:
    g = gold()
    for c in curves(name, agreed(g), g, np.zeros(N)):
        assert (np.diff(c.gold) > 0).all()
        np.testing.assert_allclose(c.proxy_per_prompt, c.gold_per_prompt, atol=1e-9)


@pytest.mark.parametrize(
    "rule", ["worst_case", "uncertainty_weighted", "lower_bound", "effective", "robust", "thompson"]
)
def test_rules_about_several_members_refuse_one(rule: str) -> None:
    with pytest.raises(DataError, match=f"the rule '{rule}' compares several members or draws.*members=5"):
        make(rule)(Reward(np.zeros((1, N)), "point"), seed=0)


@pytest.mark.parametrize("rule", ["worst_case", "robust"])
def test_rules_about_members_refuse_posterior_draws(rule: str) -> None:
    with pytest.raises(DataError, match=f"the rule '{rule}' is about ensemble members.*worst_case with a quantile"):
        make(rule)(Reward(reward().draws, "posterior"))


@pytest.mark.parametrize("rule", ["thompson", "soft", "poisson", "pessimistic"])
def test_random_rules_refuse_to_go_without_a_seed(rule: str) -> None:
    with pytest.raises(OptionError, match=f"the rule '{rule}' chooses at random; pass seed=0"):
        make(rule)(reward())


def test_robust_says_which_head_it_needs() -> None:
    with pytest.raises(DataError, match="no sigma; use a head that gives one, such as 'brme'"):
        make("robust")(Reward(reward().draws, "members"))


def test_penalised_needs_one_number_per_row() -> None:
    with pytest.raises(DataError, match="the rule 'penalised' needs penalty, one number per row"):
        make("penalised")(reward())
    with pytest.raises(DataError, match=r"penalty must have shape \(20,\), got \(3,\)"):
        make("penalised")(reward(), penalty=[1.0, 2.0, 3.0])


@pytest.mark.parametrize(
    ("rule", "options", "message"),
    [
        ("worst_case", {"quantile": 1.5}, r"quantile must be inside \[0, 1\], got 1.5"),
        ("uncertainty_weighted", {"weight": -1}, "weight must be >= 0 and finite, got -1"),
        ("lower_bound", {"weight": np.inf}, "weight must be >= 0 and finite, got inf"),
        ("effective", {"temperature": 0}, "temperature must be > 0 and finite, got 0"),
        ("effective", {"form": "normal"}, "form must be 'exponential' or 'gaussian', got 'normal'"),
        ("robust", {"robustness": 2}, r"robustness must be inside \[0, 1\], got 2"),
        ("robust", {"scope": "local"}, "scope must be 'pointwise' or 'global', got 'local'"),
        ("penalised", {"weight": np.nan}, "weight must be finite, got nan"),
        ("soft", {"temperature": -1.0}, "temperature must be > 0"),
        ("poisson", {"rate": -1.0}, "rate must be >= 0"),
        ("poisson", {"pool": "sample"}, "pool must be 'population' or 'support', got 'sample'"),
        ("pessimistic", {"beta": 0.0}, "beta must be > 0"),
        ("pessimistic", {"cap": 0.0}, "cap must be > 0"),
        ("pessimistic", {"draws": 0}, "draws must be > 0"),
    ],
)
def test_options_out_of_range_are_refused(rule: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        selectors.get(rule)(**options)


def test_a_member_that_is_not_there_is_refused() -> None:
    with pytest.raises(OptionError, match=r"member must be inside 0..3, got 7"):
        selectors.get("best")(member=7)(reward())


@pytest.mark.parametrize(("scale", "offset"), [(1e-30, 0.0), (1e-310, 0.0), (1e30, 0.0), (1.0, 1e16), (0.0, 7.0)])
def test_at_the_edges_of_numbers_probabilities_are_probabilities(name: str, scale: float, offset: float) -> None:
    r = reward()
    assert r.sigma is not None
    given = Reward(offset + scale * r.draws, r.kind, sigma=scale * r.sigma)
    choice = make(name)(given, offsets=OFFSETS, penalty=scale * penalty(), seed=0)
    assert np.isfinite(choice.value).all()
    assert (choice.probability >= 0).all()
    np.testing.assert_allclose(np.add.reduceat(choice.probability, OFFSETS[:-1]), 1, rtol=1e-12)
    for c in curves(name, given, gold(), scale * penalty()):
        assert np.isfinite(c.gold_per_prompt).all()
        assert np.isfinite(c.kl).all()


def test_a_thousand_members_have_probabilities_too(name: str) -> None:
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(1000, N))
    given = Reward(draws, "members", sigma=rng.uniform(0.1, 1, size=draws.shape), reference=rng.normal(size=1000))
    choice = make(name)(given, offsets=OFFSETS, penalty=penalty(), seed=0)
    assert np.isfinite(choice.value).all()
    np.testing.assert_allclose(np.add.reduceat(choice.probability, OFFSETS[:-1]), 1, rtol=1e-12)
