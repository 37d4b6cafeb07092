"""What every selector is: a stateless recipe from a reward to a choice in each pool."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from embrm.errors import DataError
from embrm.outcomes import Choice, Reward
from embrm.types import Array, IntArray, check_offsets


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
