"""The mean over members."""

from __future__ import annotations

from dataclasses import dataclass

from embrm.core.arrays import Array
from embrm.core.registry import register
from embrm.core.results import Reward
from embrm.selectors._selector import ValueRule


@register
@dataclass(frozen=True, kw_only=True)
class Mean(ValueRule):
    """Largest mean reward over members or draws (Coste et al. 2310.02743, Eisenstein et al. 2312.09244).

    Examples:
        >>> from embrm.core.results import Reward
        >>> Mean()(Reward([[1.0, 5.0], [3.0, 1.0]], "members")).value
        array([2., 3.])
    """

    def value(self, reward: Reward) -> Array:
        """Return the mean over draws `(n,)`."""
        return reward.mean
