"""Curves of rules: equal to drawing with the rule itself, or to the closed forms; and what they are compared with."""

from __future__ import annotations

from itertools import combinations, pairwise, product
from typing import Literal, get_args

import numpy as np
import pytest

from embrm import selectors
from embrm.bestofn import Convention, pool_kl, sampled
from embrm.core.results import Reward
from embrm.errors import DataError, OptionError
from embrm.evaluation.rules import GoldPools, compare, usual_rules
from embrm.selectors import RandomRule, argmax_share

OFFSETS = np.array([0, 5, 9, 15, 20, 24, 29])
RNG = np.random.default_rng(0)
DRAWS = RNG.normal(size=(3, 29))
GOLD = RNG.normal(size=29)
PENALTY = RNG.random(29)


def by_enumeration(name: str, n: int, **options: float) -> np.ndarray:
    """Return the gold of the rule itself on every set of n responses of each pool, averaged."""
    rule, out = selectors.get(name)(**options), []
    for a, b in pairwise(OFFSETS):
        values = []
        for some in combinations(range(a, b), n):
            rows = list(some)
            choice = rule(Reward(DRAWS[:, rows], "members"), penalty=PENALTY[rows], seed=0)
            values.append(choice.probability @ GOLD[rows])
        out.append(np.mean(values))
    return np.array(out)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("mean", {}),
        ("worst_case", {}),
        ("uncertainty_weighted", {"weight": 0.7}),
        ("penalised", {"weight": 2.0}),
        ("thompson", {}),
    ],
)
@pytest.mark.parametrize("n", [1, 2, 4])
def test_a_rule_s_curve_is_the_mean_over_all_sets_of_n(name: str, options: dict[str, float], n: int) -> None:
    rule = selectors.get(name)(**options)
    curve = rule.curve(Reward(DRAWS, "members"), GOLD, [n], offsets=OFFSETS, penalty=PENALTY, seed=0)
    np.testing.assert_allclose(curve.gold_per_prompt[:, 0], by_enumeration(name, n, **options), atol=1e-12)


def test_soft_is_the_mean_over_all_sets_of_n_within_its_error() -> None:
    soft = selectors.get("soft")(temperature=0.5)
    curve = soft.curve(Reward(DRAWS, "members"), GOLD, [3], offsets=OFFSETS, seed=0)
    exact = by_enumeration("soft", 3, temperature=0.5).mean()
    assert curve.standard_error is not None
    assert abs(curve.gold[0] - exact) < 4 * curve.standard_error[0]


def test_poisson_and_pessimistic_at_their_largest_are_their_own_choice() -> None:
    reward = Reward(DRAWS, "members")
    poisson = selectors.get("poisson")(rate=3.0)
    curve = poisson.curve(reward, GOLD, [1, 4], offsets=OFFSETS, seed=0)
    own = poisson(reward, offsets=OFFSETS, seed=0).probability * GOLD
    np.testing.assert_allclose(curve.gold_per_prompt[:, 1], np.add.reduceat(own, OFFSETS[:-1]))
    np.testing.assert_allclose(curve.gold_per_prompt[:, 0], np.add.reduceat(GOLD, OFFSETS[:-1]) / np.diff(OFFSETS))
    careful = selectors.get("pessimistic")(beta=0.3, draws=7)
    curve = careful.curve(reward, GOLD, [7], offsets=OFFSETS, pool="support", seed=0)
    own = careful(reward, offsets=OFFSETS, seed=0).probability * GOLD
    np.testing.assert_allclose(curve.gold_per_prompt[:, 0], np.add.reduceat(own, OFFSETS[:-1]))


def test_a_comparison_has_paired_differences_and_what_every_table_has() -> None:
    rules = {name: selectors.get(name)() for name in ("mean", "worst_case")}
    found = compare(rules, Reward(DRAWS, "members"), GoldPools.of(GOLD, OFFSETS, length=np.arange(29)), seed=0)
    assert list(found.lines) == ["mean", "worst_case", "oracle", "length", "random"]
    np.testing.assert_array_equal(found.sizes, [1, 2, 4])
    mean, worst, oracle, random = (found.lines[name] for name in ("mean", "worst_case", "oracle", "random"))
    np.testing.assert_allclose(worst.ahead.estimate, worst.gold.estimate - mean.gold.estimate, atol=1e-12)
    np.testing.assert_array_equal(mean.ahead.high, 0)
    assert (oracle.gold.estimate[1:] > mean.gold.estimate[1:]).all()
    pools = [GOLD[a:b].mean() for a, b in pairwise(OFFSETS)]
    np.testing.assert_allclose(random.gold.estimate, np.mean(pools))
    np.testing.assert_array_equal(random.kl, 0)
    assert oracle.peak == 4
    assert (found.rules, found.prompts) == (2, 6)


def test_tied_scores_are_worth_a_random_response_at_every_n() -> None:
    tied = Reward(np.zeros((1, 29)), "point")
    found = compare({"mean": selectors.get("mean")()}, tied, GoldPools.of(GOLD, OFFSETS), seed=0)
    np.testing.assert_allclose(found.lines["mean"].gold.estimate, found.lines["random"].gold.estimate)


@pytest.mark.parametrize(
    ("kind", "draws", "names"),
    [
        ("point", 1, ["mean"]),
        ("members", 3, ["mean", "worst_case"]),
        ("posterior", 3, ["mean", "worst_case:quantile=0.05"]),
    ],
)
def test_the_usual_rules_suit_the_reward(kind: str, draws: int, names: list[str]) -> None:
    reward = Reward(DRAWS[:draws], kind)  # type: ignore[arg-type]
    rules = usual_rules(reward)
    assert list(rules) == names
    assert len(compare(rules, reward, GoldPools.of(GOLD, OFFSETS), seed=0).lines) == len(names) + 2


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("pessimistic", {}, OptionError, r"'pessimistic' has no curve under pool='population'; take pool='support'"),
        ("soft", {"pool": "support"}, OptionError, r"'soft' has no curve under pool='support'; take pool='population'"),
        ("mean", {"sizes": [5]}, OptionError, r"the smallest pool has 4 responses, so its best of 5 is unknown"),
        ("mean", {"gold": None}, DataError, r"no gold rewards, so rules cannot be compared"),
        ("mean", {"offsets": [0, 29]}, DataError, r"got a single prompt"),
        ("mean", {"length": [3.0]}, DataError, r"length must have shape \(29,\), got \(1,\)"),
        ("worst_case", {"reward": Reward(DRAWS[:1], "point")}, DataError, r"'worst_case' compares several members"),
    ],
)
def test_what_cannot_be_compared_is_explained(
    name: str, options: dict[str, object], error: type[Exception], message: str
) -> None:
    given = {"reward": Reward(DRAWS, "members"), "gold": GOLD, "offsets": OFFSETS, "length": None, **options}

    def compared() -> None:
        pools = GoldPools.of(given.pop("gold"), given.pop("offsets"), length=given.pop("length"))  # type: ignore[arg-type]
        compare({name: selectors.get(name)()}, given.pop("reward"), pools, **given, seed=0)  # type: ignore[arg-type]

    with pytest.raises(error, match=message):
        compared()


class Louder(RandomRule):
    """A rule of somebody else's: odds that grow with the rank among those that it is given."""

    def probability(self, value: np.ndarray, offsets: np.ndarray) -> np.ndarray:
        parts = [part.argsort().argsort() + 1.0 for part in np.split(value, offsets[1:-1])]
        return np.concatenate([part**2 / (part**2).sum() for part in parts])


def chosen(n: int, pool: str) -> tuple[np.ndarray, np.ndarray]:
    """Return gold and KL of that rule in each pool, from all that can be drawn."""
    rule, value, gold, kl = Louder(), DRAWS.mean(axis=0), [], []
    for a, b in pairwise(OFFSETS):
        ways = list(combinations(range(a, b), n) if pool == "population" else product(range(a, b), repeat=n))
        share = np.zeros(len(GOLD))
        for rows in ways:
            np.add.at(share, list(rows), rule.probability(value[list(rows)], np.array([0, n])) / len(ways))
        gold.append(share @ GOLD)
        kl.append(pool_kl(share[a:b]))
    return np.array(gold), np.array(kl)


@pytest.mark.parametrize("pool", ["population", "support"])
@pytest.mark.parametrize("n", [2, 3])
def test_a_random_rule_of_somebody_else_has_a_curve(n: int, pool: Literal["population", "support"]) -> None:
    reward = Reward(DRAWS, "members")
    curve = Louder().curve(reward, GOLD, [1, n], offsets=OFFSETS, pool=pool, seed=0)
    gold, kl = chosen(n, pool)
    assert curve.standard_error is not None
    np.testing.assert_allclose(curve.gold[0], np.mean([part.mean() for part in np.split(GOLD, OFFSETS[1:-1])]))
    assert curve.standard_error[0] == pytest.approx(0)
    assert 0 < curve.standard_error[1] < 0.1
    assert abs(curve.gold[1] - gold.mean()) < 4 * curve.standard_error[1]
    assert curve.kl[0] == pytest.approx(0)
    assert kl.mean() < curve.kl[1]


def test_the_errors_of_a_sampled_curve_are_those_that_it_states() -> None:
    gold, _ = chosen(2, "population")
    curves = [Louder().curve(Reward(DRAWS, "members"), GOLD, [2], offsets=OFFSETS, seed=seed) for seed in range(200)]
    errors = [(curve.gold[0] - gold.mean()) / curve.standard_error[0] for curve in curves]  # type: ignore[index]
    assert 0.85 < np.std(errors) < 1.15
    assert abs(np.mean(errors)) < 4 / np.sqrt(200)


def test_a_sampled_curve_ends_with_the_rule_s_own_choice() -> None:
    value, pools = Reward(DRAWS[:, :20], "members"), np.arange(0, 21, 5)
    rule = Louder()
    own = np.add.reduceat(rule(value, offsets=pools, seed=0).probability * GOLD[:20], pools[:-1])
    curve = rule.curve(value, GOLD[:20], [5], offsets=pools, seed=3)
    np.testing.assert_allclose(curve.gold_per_prompt[:, 0], own)
    assert curve.standard_error == pytest.approx(0)


def test_the_bound_of_kl_is_reached_by_a_rule_that_takes_the_largest() -> None:
    class Largest(RandomRule):
        def probability(self, value: np.ndarray, offsets: np.ndarray) -> np.ndarray:
            return argmax_share(value, offsets)

    reward = Reward(DRAWS, "members")
    for pool in get_args(Convention):
        ours = Largest().curve(reward, GOLD, [1, 2, 4], offsets=OFFSETS, pool=pool, seed=0)
        exact = selectors.get("mean")().curve(reward, GOLD, [1, 2, 4], offsets=OFFSETS, pool=pool, seed=0)
        np.testing.assert_allclose(ours.kl, exact.kl)
        assert ours.standard_error is not None
        assert (abs(ours.gold - exact.gold) <= 4 * ours.standard_error + 1e-12).all()
        np.testing.assert_allclose(ours.gain_per_prompt[:, 0], 0, atol=1e-12)


@pytest.mark.parametrize(
    ("sizes", "pool", "message"),
    [
        ([1.5], "support", r"among whole numbers of responses, got sizes \[1.5\]"),
        ([5], "population", "the smallest pool has 4 responses, so its best of 5 is unknown"),
        ([0], "population", "sizes must be numbers >= 1"),
        (
            [1],
            "sample",
            r"'test_rule_comparison' has no curve under pool='sample'; take pool='population' or pool='support'",
        ),
    ],
)
def test_a_sampled_curve_refuses_what_it_cannot_draw(sizes: list[float], pool: Convention, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Louder().curve(Reward(DRAWS, "members"), GOLD, sizes, offsets=OFFSETS, pool=pool, seed=0)
    with pytest.raises(OptionError, match="draws must be at least 2"):
        sampled(GOLD, GOLD, [1], probability=Louder().probability, seed=0, draws=1)
