"""A lower confidence bound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embrm.core.arrays import Array, positive
from embrm.core.registry import register
from embrm.core.results import Reward
from embrm.selectors._selector import ValueRule, require_several


@register
@dataclass(frozen=True, kw_only=True)
class LowerBound(ValueRule):
    """Largest mean minus a multiple of the standard deviation over members or draws.

    Attributes:
        weight: κ >= 0 of the standard deviation (ddof 0); 0 is the mean alone.
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        positive("weight", self.weight, zero=True)

    def value(self, reward: Reward) -> Array:
        """Return `μ - κ s` `(n,)`."""
        require_several(self, reward)
        return np.asarray(reward.mean - self.weight * reward.sd)
