"""A lower confidence bound."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embrm.core.arrays import Array, positive
from embrm.core.registry import register
from embrm.core.results import Reward
from embrm.selectors._choosing import require_several
from embrm.selectors._selector import ValueRule


@register
@dataclass(frozen=True, kw_only=True)
class LowerBound(ValueRule):
    """Largest mean minus a multiple of the standard deviation over members or draws.

    Attributes:
        weight: κ >= 0 of the standard deviation (ddof 0); 0 is the mean alone.

    Examples:
        >>> from embrm.core.results import Reward
        >>> LowerBound(weight=1.0)(Reward([[1.0, 2.0], [1.0, 6.0]], "members")).value
        array([1., 2.])
    """

    weight: float = 1.0

    def __post_init__(self) -> None:
        positive("weight", self.weight, zero=True)

    def value(self, reward: Reward) -> Array:
        """Return `μ - κ s` `(n,)`."""
        require_several(self, reward)
        return np.asarray(reward.mean - self.weight * reward.sd)
