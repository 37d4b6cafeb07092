"""What every selector is: a stateless recipe from a reward to a choice in each pool."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import Array, IntArray, check_offsets
from embrm.core.results import Choice, Reward
from embrm.errors import DataError, OptionError


class Selector(Protocol):
    """A rule that picks one candidate of each pool."""

    def __call__(
        self,
        reward: Reward,
        *,
        offsets: npt.ArrayLike | None = None,
        penalty: npt.ArrayLike | None = None,
        seed: int | None = None,
    ) -> Choice:
        """Choose.

        Args:
            reward: beliefs about `n` candidates.
            offsets: `(pools + 1,)` boundaries of the pools; None means one pool.
            penalty: `(n,)` subtracted by rules that take one.
            seed: for random rules, which refuse None.
        """


@dataclass(frozen=True, kw_only=True)
class ValueRule(ABC):
    """Base of the rules that give every row an effective reward and take the largest."""

    @abstractmethod
    def value(self, reward: Reward) -> Array:
        """Return the effective reward `(n,)` of centred draws."""

    def __call__(
        self,
        reward: Reward,
        *,
        offsets: npt.ArrayLike | None = None,
        penalty: npt.ArrayLike | None = None,
        seed: int | None = None,
    ) -> Choice:
        """Choose the row of the largest effective reward in each pool."""
        return choose_largest(self.value(reward.centred()), check_offsets(offsets, len(reward)))


@dataclass(frozen=True, kw_only=True)
class RandomRule(ABC):
    """Base of the rules that draw a row with exactly known probabilities, here from the mean reward over draws."""

    @abstractmethod
    def probability(self, value: Array, offsets: IntArray) -> Array:
        """Return the probability `(n,)` of each row, summing to 1 in every pool."""

    def __call__(
        self,
        reward: Reward,
        *,
        offsets: npt.ArrayLike | None = None,
        penalty: npt.ArrayLike | None = None,
        seed: int | None = None,
    ) -> Choice:
        """Draw one row of each pool."""
        rng, bounds = generator(self, seed), check_offsets(offsets, len(reward))
        value = reward.centred().mean
        probability = self.probability(value, bounds)
        # One uniform number for each pool, looked up in the running sum of all pools' probabilities.
        running = np.concatenate([[0.0], np.cumsum(probability)])
        low, high = running[bounds[:-1]], running[bounds[1:]]
        index = np.searchsorted(running, low + rng.random(len(low)) * (high - low), side="right") - 1
        return Choice(np.clip(index, bounds[:-1], bounds[1:] - 1), value, probability)


def generator(rule: object, seed: int | None) -> np.random.Generator:
    """Return a generator, or raise OptionError, naming the rule, when the seed is None."""
    if seed is None:
        raise OptionError(f"the rule '{_name(rule)}' chooses at random; pass seed=0, or any other integer")
    return np.random.default_rng(seed)


def require_several(rule: object, reward: Reward) -> None:
    """Raise DataError, naming the rule, unless the reward has several draws."""
    if len(reward.draws) < 2:
        raise DataError(
            f"the rule '{_name(rule)}' compares several members or draws, and this reward has one; "
            "train the head with members=5, use a Bayesian head, or choose by 'best'"
        )


def require_members(rule: object, reward: Reward) -> None:
    """Raise DataError, naming the rule, unless the draws are several ensemble members."""
    require_several(rule, reward)
    if reward.kind != "members":
        raise DataError(
            f"the rule '{_name(rule)}' is about ensemble members, and this reward has posterior draws, whose extremes "
            "depend on their number; use an ensemble, or worst_case with a quantile such as 0.05"
        )


def _name(rule: object) -> str:
    return type(rule).__module__.rpartition(".")[2]


def choose_largest(value: Array, offsets: IntArray) -> Choice:
    """Take the largest value of each pool; ties share the probability evenly, and the first of them is the index."""
    probability = argmax_share(value, offsets)
    tops = np.flatnonzero(probability)
    return Choice(tops[np.searchsorted(tops, offsets[:-1])], value, probability)


def argmax_share(value: Array, offsets: IntArray) -> Array:
    """Return the probability `(..., n)` of each row when every pool takes its largest value and ties share evenly."""
    starts, pool = offsets[:-1], pool_of(offsets)
    top = value == np.maximum.reduceat(value, starts, axis=-1)[..., pool]
    return np.asarray(top / np.add.reduceat(top, starts, axis=-1, dtype=np.float64)[..., pool])


def pool_of(offsets: IntArray) -> IntArray:
    """Return which pool each row belongs to, `(n,)`."""
    return np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
