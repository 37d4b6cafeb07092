"""Curves of rules: equal to drawing with the rule itself, or to the closed forms; and what they are compared with."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np
import pytest

from embrm import selectors
from embrm.core.results import Reward
from embrm.errors import DataError, OptionError
from embrm.evaluation.rules import compare, rule_curve, usual_rules

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
    curve = rule_curve(rule, Reward(DRAWS, "members"), GOLD, [n], offsets=OFFSETS, penalty=PENALTY, seed=0)
    np.testing.assert_allclose(curve.gold_per_prompt[:, 0], by_enumeration(name, n, **options), atol=1e-12)


def test_soft_is_the_mean_over_all_sets_of_n_within_its_error() -> None:
    soft = selectors.get("soft")(temperature=0.5)
    curve = rule_curve(soft, Reward(DRAWS, "members"), GOLD, [3], offsets=OFFSETS, seed=0)
    exact = by_enumeration("soft", 3, temperature=0.5).mean()
    assert curve.standard_error is not None
    assert abs(curve.gold[0] - exact) < 4 * curve.standard_error[0]


def test_poisson_and_pessimistic_at_their_largest_are_their_own_choice() -> None:
    reward = Reward(DRAWS, "members")
    poisson = selectors.get("poisson")(rate=3.0)
    curve = rule_curve(poisson, reward, GOLD, [1, 4], offsets=OFFSETS, seed=0)
    own = poisson(reward, offsets=OFFSETS, seed=0).probability * GOLD
    np.testing.assert_allclose(curve.gold_per_prompt[:, 1], np.add.reduceat(own, OFFSETS[:-1]))
    np.testing.assert_allclose(curve.gold_per_prompt[:, 0], np.add.reduceat(GOLD, OFFSETS[:-1]) / np.diff(OFFSETS))
    careful = selectors.get("pessimistic")(beta=0.3, draws=7)
    curve = rule_curve(careful, reward, GOLD, [7], offsets=OFFSETS, pool="support", seed=0)
    own = careful(reward, offsets=OFFSETS, seed=0).probability * GOLD
    np.testing.assert_allclose(curve.gold_per_prompt[:, 0], np.add.reduceat(own, OFFSETS[:-1]))


def test_a_comparison_has_paired_differences_and_what_every_table_has() -> None:
    rules = {name: selectors.get(name)() for name in ("mean", "worst_case")}
    found = compare(rules, Reward(DRAWS, "members"), GOLD, offsets=OFFSETS, length=np.arange(29), seed=0)
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
    found = compare(
        {"mean": selectors.get("mean")()}, Reward(np.zeros((1, 29)), "point"), GOLD, offsets=OFFSETS, seed=0
    )
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
    assert len(compare(rules, reward, GOLD, offsets=OFFSETS, seed=0).lines) == len(names) + 2


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("pessimistic", {}, OptionError, r"'pessimistic' has no curve under pool='population'; take pool='support'"),
        ("soft", {"pool": "support"}, OptionError, r"'soft' has no curve under pool='support'; take pool='population'"),
        ("mean", {"sizes": [5]}, OptionError, r"the smallest pool has 4 responses, so its best of 5 is unknown"),
        ("mean", {"gold": None}, DataError, r"no gold rewards, so rules cannot be compared"),
        ("mean", {"offsets": [0, 29]}, DataError, r"got a single prompt"),
        ("worst_case", {"reward": Reward(DRAWS[:1], "point")}, DataError, r"'worst_case' compares several members"),
    ],
)
def test_what_cannot_be_compared_is_explained(
    name: str, options: dict[str, object], error: type[Exception], message: str
) -> None:
    given = {"reward": Reward(DRAWS, "members"), "gold": GOLD, "offsets": OFFSETS, **options}
    with pytest.raises(error, match=message):
        compare({name: selectors.get(name)()}, **given, seed=0)  # type: ignore[arg-type]


def test_a_random_rule_of_somebody_else_has_no_curve() -> None:
    from embrm.selectors import RandomRule

    class Uniform(RandomRule):
        def probability(self, value: np.ndarray, offsets: np.ndarray) -> np.ndarray:
            return np.repeat(1 / np.diff(offsets), np.diff(offsets))

    with pytest.raises(OptionError, match=r"has no curve under pool='population'; leave it out"):
        rule_curve(Uniform(), Reward(DRAWS, "members"), GOLD, [1], offsets=OFFSETS, seed=0)
