"""What rules are made of: taking the largest, drawing with a seed, and saying what a reward lacks."""

from __future__ import annotations

from typing import Any

import numpy as np

from embrm.bestofn import Convention
from embrm.core.arrays import Array, IntArray
from embrm.core.results import Choice, Reward
from embrm.errors import DataError, OptionError
from embrm.selectors._registry import registry


def served(rule: Any, pool: Convention | None) -> Convention:
    """Return the convention to draw a rule's curve in: the one asked for, or the rule's own for None.

    Args:
        rule: a selector.
        pool: a convention, see `embrm.bestofn`, or None.

    Raises:
        OptionError: the rule has no curve under that convention.
    """
    conventions: tuple[Convention, ...] = rule.conventions
    if pool is None:
        return conventions[0]
    if pool not in conventions:
        there = " or ".join(f"pool='{convention}'" for convention in conventions)
        raise OptionError(f"the rule '{registry.name_of(rule)}' has no curve under pool='{pool}'; take {there}")
    return pool


def generator(rule: object, seed: int | None) -> np.random.Generator:
    """Return a generator, or raise OptionError, naming the rule, when the seed is None."""
    if seed is None:
        raise OptionError(f"the rule '{registry.name_of(rule)}' chooses at random; pass seed=0, or any other integer")
    return np.random.default_rng(seed)


def require_several(rule: object, reward: Reward) -> None:
    """Raise DataError, naming the rule, unless the reward has several draws."""
    if len(reward.draws) < 2:
        raise DataError(
            f"the rule '{registry.name_of(rule)}' compares several members or draws, and this reward has one; "
            "train the head with members=5, use a Bayesian head, or choose by 'best'"
        )


def require_members(rule: object, reward: Reward) -> None:
    """Raise DataError, naming the rule, unless the draws are several ensemble members."""
    require_several(rule, reward)
    if reward.kind != "members":
        raise DataError(
            f"the rule '{registry.name_of(rule)}' is about ensemble members, and this reward has posterior draws, "
            "whose extremes depend on their number; use an ensemble, or worst_case with a quantile such as 0.05"
        )


def choose_largest(value: Array, offsets: IntArray) -> Choice:
    """Take the largest value of each pool; ties share the probability evenly, and the first of them is the index.

    Args:
        value: `(n,)`.
        offsets: `(pools + 1,)`.

    Examples:
        >>> import numpy as np
        >>> choice = choose_largest(np.array([1.0, 3.0, 3.0, 0.0, 2.0]), np.array([0, 3, 5]))
        >>> choice.index, choice.probability
        (array([1, 4]), array([0. , 0.5, 0.5, 0. , 1. ]))
    """
    probability = argmax_share(value, offsets)
    tops = np.flatnonzero(probability)
    return Choice(tops[np.searchsorted(tops, offsets[:-1])], value, probability)


def argmax_share(value: Array, offsets: IntArray) -> Array:
    """Return the probability `(..., n)` of each row when every pool takes its largest value and ties share evenly.

    Args:
        value: `(..., n)`.
        offsets: `(pools + 1,)`.

    Examples:
        Two members, of which each chooses:

        >>> import numpy as np
        >>> argmax_share(np.array([[1.0, 3.0, 3.0], [4.0, 3.0, 3.0]]), np.array([0, 3])).mean(axis=0)
        array([0.5 , 0.25, 0.25])
    """
    starts, pool = offsets[:-1], pool_of(offsets)
    top = value == np.maximum.reduceat(value, starts, axis=-1)[..., pool]
    return np.asarray(top / np.add.reduceat(top, starts, axis=-1, dtype=np.float64)[..., pool])


def pool_of(offsets: IntArray) -> IntArray:
    """Return which pool each row belongs to, `(n,)`.

    Examples:
        >>> import numpy as np
        >>> pool_of(np.array([0, 2, 5]))
        array([0, 0, 1, 1, 1])
    """
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
