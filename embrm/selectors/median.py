"""The median over members."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embrm.core.arrays import Array
from embrm.core.registry import register
from embrm.core.results import Reward
from embrm.selectors._selector import ValueRule


@register
@dataclass(frozen=True, kw_only=True)
class Median(ValueRule):
    """Largest median reward over members or draws: the mean's relative that one outlying member cannot move.

    Examples:
        >>> from embrm.core.results import Reward
        >>> Median()(Reward([[1.0, 5.0], [3.0, 1.0]], "members")).value
        array([2., 3.])
    """

    def value(self, reward: Reward) -> Array:
        """Return the median over draws `(n,)`."""
        return np.asarray(np.median(reward.draws, axis=0))
