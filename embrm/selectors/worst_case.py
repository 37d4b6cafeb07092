"""Worst-case optimisation over an ensemble."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embrm.core.arrays import Array
from embrm.core.registry import register
from embrm.core.results import Reward
from embrm.errors import OptionError
from embrm.selectors._choosing import require_members, require_several
from embrm.selectors._selector import ValueRule


@register
@dataclass(frozen=True, kw_only=True)
class WorstCase(ValueRule):
    """Largest minimum over members (WCO, Coste et al. 2310.02743), or a low quantile of the draws.

    Attributes:
        quantile: inside [0, 1]; None takes the minimum, which posterior draws do not have (it falls with their number).

    Examples:
        >>> from embrm.core.results import Reward
        >>> choice = WorstCase()(Reward([[1.0, 2.0], [1.0, -3.0]], "members"))
        >>> choice.index.item(), choice.value
        (0, array([ 1., -3.]))
    """

    quantile: float | None = None

    def __post_init__(self) -> None:
        if self.quantile is not None and not 0 <= self.quantile <= 1:
            raise OptionError(f"quantile must be inside [0, 1], got {self.quantile}")

    def value(self, reward: Reward) -> Array:
        """Return the minimum, or the quantile, over draws `(n,)`."""
        if self.quantile is None:
            require_members(self, reward)
            return np.asarray(reward.draws.min(axis=0))
        require_several(self, reward)
        return np.asarray(np.quantile(reward.draws, self.quantile, axis=0))
