"""Best-of-Poisson."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embrm.bestofn.ranks import Convention, by_size, check_convention, ranked, tie_mean
from embrm.bestofn.stochastic import poisson_weights
from embrm.core.arrays import Array, IntArray, positive
from embrm.core.registry import register
from embrm.selectors._selector import RandomRule


@register
@dataclass(frozen=True, kw_only=True)
class Poisson(RandomRule):
    """Best of 1 + Poisson(m) of the pool's responses (2506.19248).

    Attributes:
        rate: m >= 0; 0 takes one response at random.
        pool: "population" draws them without replacement, at most the whole pool; "support" with replacement.
    """

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
