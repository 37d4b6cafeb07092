"""What every selector is: a stateless recipe from a reward to a choice in each pool, with the curve of that choice."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import numpy.typing as npt

from embrm import bestofn
from embrm.bestofn import Convention, Curve, PathRule
from embrm.core.arrays import Array, IntArray, check_offsets
from embrm.core.results import Choice, Reward
from embrm.selectors._choosing import choose_largest, generator, served


class Selector(Protocol):
    """A rule that picks one candidate of each pool, and knows what its choice is worth.

    Attributes:
        conventions: in which of `embrm.bestofn`'s two conventions the rule has a curve; the first is its own.
        strength: what grows along the rule's path, of which `embrm.bestofn.hack_threshold` finds the turn: "best" its
            n, "poisson" its rate, "tilt" one over its temperature; None where there is no such path.
    """

    conventions: ClassVar[tuple[Convention, ...]]
    strength: ClassVar[PathRule | None]

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

    def curve(
        self,
        reward: Reward,
        gold: npt.ArrayLike,
        sizes: npt.ArrayLike,
        *,
        offsets: npt.ArrayLike | None = None,
        pool: Convention | None = None,
        penalty: npt.ArrayLike | None = None,
        seed: int,
    ) -> Curve:
        """Return what the rule's choice among n responses is worth, for every n.

        Args:
            reward: beliefs about `m` candidates.
            gold: `(m,)`.
            sizes: `(k,)` n.
            offsets: `(pools + 1,)`; None means one pool.
            pool: the convention, see `embrm.bestofn`; None takes the first of `conventions`.
            penalty: `(m,)` for rules that take one.
            seed: of what is left to Monte Carlo; `Curve.standard_error` is its error, None where all is exact.

        Raises:
            OptionError: the rule has no curve under this convention, or n exceeds a pool under "population".
            DataError: the reward has not what the rule needs, such as several members.
        """


@dataclass(frozen=True, kw_only=True)
class ValueRule(ABC):
    """Base of the rules that give every row an effective reward and take the largest; their curves are exact.

    Examples:
        >>> from dataclasses import dataclass
        >>> from embrm.core.results import Reward
        >>> @dataclass(frozen=True, kw_only=True)
        ... class Optimist(ValueRule):
        ...     def value(self, reward):
        ...         return reward.draws.max(axis=0)
        >>> reward = Reward([[0.0, 2.0, 1.0], [3.0, 0.0, 1.0]], "members")
        >>> Optimist()(reward).index.item()
        0
        >>> Optimist().curve(reward, [5.0, 1.0, 0.0], [1, 2, 3], seed=0).gold.round(2)
        array([2.  , 3.67, 5.  ])
    """

    conventions: ClassVar[tuple[Convention, ...]] = ("population", "support")
    strength: ClassVar[PathRule | None] = "best"

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

    def curve(
        self,
        reward: Reward,
        gold: npt.ArrayLike,
        sizes: npt.ArrayLike,
        *,
        offsets: npt.ArrayLike | None = None,
        pool: Convention | None = None,
        penalty: npt.ArrayLike | None = None,
        seed: int,
    ) -> Curve:
        """Return the exact best-of-n curve of the effective reward; see `Selector`."""
        value = self(reward, offsets=offsets, penalty=penalty, seed=seed).value
        return bestofn.curve(value, gold, sizes, pool=served(self, pool), offsets=offsets)


@dataclass(frozen=True, kw_only=True)
class RandomRule(ABC):
    """Base of the rules that draw a row with exactly known probabilities, here from the mean reward over draws.

    A rule whose curve has a closed form, or that is another rule for every n, has a `curve` of its own.

    Examples:
        >>> from dataclasses import dataclass
        >>> import numpy as np
        >>> from embrm.core.results import Reward
        >>> @dataclass(frozen=True, kw_only=True)
        ... class Proportional(RandomRule):
        ...     def probability(self, value, offsets):
        ...         odds = 1 / (1 + np.exp(-value))
        ...         return odds / np.repeat(np.add.reduceat(odds, offsets[:-1]), np.diff(offsets))
        >>> reward = Reward([[-1.0, 0.0, 2.0]], "point")
        >>> Proportional()(reward, seed=0).probability.round(2)
        array([0.16, 0.3 , 0.53])
        >>> curve = Proportional().curve(reward, [0.0, 0.0, 3.0], [1, 2, 3], seed=0)
        >>> curve.gold[[0, 2]].round(2)  # a random one, and the rule's own choice of all three
        array([1. , 1.6])
        >>> curve.standard_error.round(2)
        array([0.  , 0.04, 0.  ])
    """

    conventions: ClassVar[tuple[Convention, ...]] = ("population", "support")
    strength: ClassVar[PathRule | None] = None

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

    def curve(
        self,
        reward: Reward,
        gold: npt.ArrayLike,
        sizes: npt.ArrayLike,
        *,
        offsets: npt.ArrayLike | None = None,
        pool: Convention | None = None,
        penalty: npt.ArrayLike | None = None,
        seed: int,
    ) -> Curve:
        """Return the curve of the rule's own `probability` among n responses; see `Selector`, `embrm.bestofn.sampled`.

        The choice among n is weighed exactly, and which n there are is left to Monte Carlo. Under "population" the
        curve ends, at the size of the pools, with the rule's own choice.
        """
        choose, convention = self.probability, served(self, pool)
        value = reward.centred().mean
        return bestofn.sampled(value, gold, sizes, probability=choose, pool=convention, seed=seed, offsets=offsets)
