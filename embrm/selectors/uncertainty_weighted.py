"""Uncertainty-weighted optimisation."""

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
class UncertaintyWeighted(ValueRule):
    """Largest mean minus weighted variance over members (UWO, Coste et al. 2310.02743, Eq. 5).

    Attributes:
        weight: λ >= 0 of the variance (ddof 0), in one over reward; 0 is the mean alone. The paper's best for
            best-of-n is 0.5. The released code reads 0 as 1; this does not.

    Examples:
        >>> from embrm.core.results import Reward
        >>> UncertaintyWeighted(weight=0.5)(Reward([[1.0, 2.0], [1.0, 6.0]], "members")).value
        array([1., 2.])
    """

    weight: float = 0.5

    def __post_init__(self) -> None:
        positive("weight", self.weight, zero=True)

    def value(self, reward: Reward) -> Array:
        """Return `μ - λ s²` `(n,)`."""
        require_several(self, reward)
        return np.asarray(reward.mean - self.weight * reward.sd**2)
