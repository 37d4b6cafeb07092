"""Inference-time pessimism."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embrm.bestofn.stochastic import acceptance, first_accepted
from embrm.core.arrays import Array, IntArray, positive
from embrm.core.registry import register
from embrm.selectors._selector import RandomRule


@register
@dataclass(frozen=True, kw_only=True)
class Pessimistic(RandomRule):
    """Draw until a response is accepted with probability relu((r - λ)/β)/M (pessimism, 2503.21878).

    The pool is taken as the policy: its rows are drawn with replacement, and λ makes the mean weight 1 over them.

    Attributes:
        beta: strength of the regularisation towards the reference policy, in units of the reward; larger is cautious.
        cap: M, the largest weight that is not cut; None takes the pool's largest, so that nothing is cut.
        draws: after so many without an acceptance a random response is taken; None means the size of the pool.
    """

    beta: float = 0.1
    cap: float | None = None
    draws: int | None = None

    def __post_init__(self) -> None:
        positive("beta", self.beta)
        for name in ("cap", "draws"):
            if getattr(self, name) is not None:
                positive(name, getattr(self, name))

    def probability(self, value: Array, offsets: IntArray) -> Array:
        """Return the probability of each row `(n,)`, exactly."""
        accept = acceptance(value, offsets, beta=self.beta, cap=self.cap)
        return first_accepted(accept, offsets, draws=np.diff(offsets) if self.draws is None else self.draws)
