"""Best-of-Poisson."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from embrm import bestofn
from embrm.bestofn import Convention, Curve, PathRule
from embrm.bestofn.ranks import by_size, check_convention, ranked, tie_mean
from embrm.bestofn.stochastic import poisson_weights
from embrm.core.arrays import Array, IntArray, positive
from embrm.core.registry import register
from embrm.core.results import Reward
from embrm.selectors._choosing import served
from embrm.selectors._selector import RandomRule


@register
@dataclass(frozen=True, kw_only=True)
class Poisson(RandomRule):
    """Best of 1 + Poisson(m) of the pool's responses (2506.19248).

    Attributes:
        rate: m >= 0; 0 takes one response at random.
        pool: "population" draws them without replacement, at most the whole pool; "support" with replacement.

    Examples:
        >>> from embrm.core.results import Reward
        >>> Poisson(rate=1.0)(Reward([[0.0, 1.0]], "point"), seed=0).probability.round(3)  # 1/(2e), the rest
        array([0.184, 0.816])
    """

    strength: ClassVar[PathRule | None] = "poisson"

    rate: float = 8.0
    pool: Convention = "population"

    def __post_init__(self) -> None:
        positive("rate", self.rate, zero=True)
        check_convention(self.pool)

    def probability(self, value: Array, offsets: IntArray) -> Array:
        """Return the probability of each row `(n,)`, exactly: the mixture of its best-of-n probabilities."""
        out = np.empty(len(value))
        for _, rows in by_size(offsets):
            order, group = ranked(value[rows])
            weights = poisson_weights(np.array([self.rate]), rows.shape[1], pool=self.pool)
            shared = tie_mean(np.broadcast_to(weights, rows.shape), group)
            out[np.take_along_axis(rows, order, axis=1)] = shared
        return out

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
        """Return the exact curve over the mean number n of responses, whatever the rate; see `bestofn.poisson`."""
        n = np.atleast_1d(np.asarray(sizes))
        value = reward.centred().mean
        return replace(bestofn.poisson(value, gold, n - 1, pool=served(self, pool), offsets=offsets), sizes=n)
