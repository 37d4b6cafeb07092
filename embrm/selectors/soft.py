"""Soft best-of-n."""

from __future__ import annotations

from dataclasses import dataclass

from embrm.bestofn.stochastic import tilted
from embrm.core.arrays import Array, IntArray, positive
from embrm.core.registry import register
from embrm.selectors._selector import RandomRule


@register
@dataclass(frozen=True, kw_only=True)
class Soft(RandomRule):
    """Draw by softmax(r/τ) over the pool (soft best-of-n, 2505.03156).

    Attributes:
        temperature: τ > 0 in units of the reward; towards 0 the best, towards infinity any response.
    """

    temperature: float = 1.0

    def __post_init__(self) -> None:
        positive("temperature", self.temperature)

    def probability(self, value: Array, offsets: IntArray) -> Array:
        """Return the softmax of `value` within each pool `(n,)`, exactly."""
        return tilted(value, offsets, self.temperature)
