"""The rules about several annotators, against brute force over all responses in plain Python."""

from __future__ import annotations

import math
from itertools import pairwise
from statistics import fmean, pstdev

import numpy as np
import pytest

from embrm import selectors
from embrm.core.results import Reward
from embrm.errors import DataError, OptionError

OFFSETS = [0, 4, 11, 20, 40, 60, 80, 100, 120]
NAMES = ("ann", "ann", "ann", "bob", "bob", "bob", "cy", "cy", "cy")


def reward() -> Reward:
    rng = np.random.default_rng(5)
    liking = rng.normal(size=(3, 120)) + rng.normal(size=120)  # with something that all like
    draws = (np.repeat(liking, 3, axis=0) + 0.3 * rng.normal(size=(9, 120))) * np.repeat([1.0, 30.0, 0.1], 3)[:, None]
    return Reward(draws, "posterior", reference=rng.normal(size=9), annotator=NAMES)


def brute(rule: str, weight: float) -> list[int]:
    """Return the choice of each pool, one response and annotator after the other."""
    given = reward()
    gains: dict[str, list[float]] = {}
    bounds: dict[str, list[float]] = {}
    for name in dict.fromkeys(NAMES):
        own = [row.tolist() for row, other in zip(given.draws, NAMES, strict=True) if other == name]
        gains[name], bounds[name] = [], []
        for a, b in pairwise(OFFSETS):
            for y in range(a, b):
                of_draws = [draw[y] - fmean(draw[a:b]) for draw in own]
                gains[name].append(fmean(of_draws))
                bounds[name].append(fmean(of_draws) - weight * pstdev(of_draws))
        scale = math.sqrt(fmean(gain**2 for gain in gains[name]))
        bounds[name] = [bound / scale for bound in bounds[name]]
    chosen = []
    for a, b in pairwise(OFFSETS):
        table = {y: [bounds[name][y] for name in bounds] for y in range(a, b)}
        if rule == "utilitarian":
            chosen.append(max(table, key=lambda y: fmean(table[y])))
        elif rule == "egalitarian":
            chosen.append(max(table, key=lambda y: min(table[y])))
        else:
            fair = {y: math.prod(row) for y, row in table.items() if min(row) > 0}
            chosen.append(max(fair, key=lambda y: fair[y]) if fair else max(table, key=lambda y: min(table[y])))
    return chosen


@pytest.mark.parametrize("weight", [0.0, 0.3, 2.0])
@pytest.mark.parametrize("rule", ["utilitarian", "egalitarian", "nash"])
def test_choices_are_those_of_brute_force(rule: str, weight: float) -> None:
    choice = selectors.get(rule)(weight=weight)(reward(), offsets=OFFSETS)
    assert choice.index.tolist() == brute(rule, weight)


def test_the_three_rules_choose_differently() -> None:
    assert len({tuple(brute(rule, 0.3)) for rule in ("utilitarian", "egalitarian", "nash")}) == 3


def test_no_scale_or_offset_of_an_annotator_changes_a_choice() -> None:
    given = reward()
    factor, shift = np.repeat([3.0, 0.02, 500.0], 3)[:, None], np.arange(9.0)[:, None]
    moved = Reward(given.draws * factor + shift, "posterior", annotator=NAMES)
    plain = Reward(given.draws, "posterior", annotator=NAMES)
    for rule in ("utilitarian", "egalitarian", "nash"):
        for weight in (0.0, 1.0):
            made = selectors.get(rule)(weight=weight)
            np.testing.assert_array_equal(made(moved, offsets=OFFSETS).index, made(plain, offsets=OFFSETS).index)


def test_a_lower_bound_turns_from_a_gain_that_is_not_known() -> None:
    sure, unsure = [0.0, 1.0, 1.5], np.array([[0.0, 1.1, 5.5], [0.0, 0.9, -2.5]])
    given = Reward(np.vstack([[sure] * 2, unsure]), "posterior", annotator=("a", "a", "b", "b"))
    assert selectors.get("egalitarian")()(given).index.item() == 2
    assert selectors.get("egalitarian")(weight=1.0)(given).index.item() == 1


def test_what_a_lower_bound_needs() -> None:
    single = Reward(np.eye(2), "members", annotator=("ann", "bob"))
    with pytest.raises(DataError, match="'egalitarian' with a weight needs several draws of each annotator, and 'ann'"):
        selectors.get("egalitarian")(weight=1.0)(single)
    with pytest.raises(DataError, match="the rule 'nash' is about ensemble members"):
        selectors.get("nash")()(Reward(np.eye(3), "posterior"))
    with pytest.raises(OptionError, match="weight must be >= 0"):
        selectors.get("utilitarian")(weight=-1.0)
    with pytest.raises(DataError, match="annotator must name whose each of the 2 draws is, got 1"):
        Reward(np.eye(2), "members", annotator=("ann",))
