"""The reward of Reward-Robust RLHF."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from embrm.core.arrays import Array
from embrm.core.registry import register
from embrm.core.results import Reward
from embrm.errors import DataError, OptionError
from embrm.selectors._choosing import require_members
from embrm.selectors._selector import ValueRule


@register
@dataclass(frozen=True, kw_only=True)
class Robust(ValueRule):
    """Largest mixture of nominal and worst-case reward (Reward-Robust RLHF, 2409.15360).

    The nominal reward of a text is that of the member with the smallest predictive standard deviation on it.

    Attributes:
        robustness: ρ inside [0, 1]; 0 is the nominal reward alone, 1 the worst case alone.
        scope: "pointwise" takes the worst member of each text (more pessimistic), "global" the one member whose mean
            over all given texts is the smallest.

    Examples:
        >>> from embrm.core.results import Reward
        >>> reward = Reward([[4.0], [0.0]], "members", sigma=[[0.1], [0.9]])
        >>> Robust(robustness=0.25)(reward).value  # the surest member says 4, the worst 0
        array([3.])
    """

    robustness: float = 0.5
    scope: Literal["pointwise", "global"] = "pointwise"

    def __post_init__(self) -> None:
        if not 0 <= self.robustness <= 1:
            raise OptionError(f"robustness must be inside [0, 1], got {self.robustness}")
        if self.scope not in ("pointwise", "global"):
            raise OptionError(f"scope must be 'pointwise' or 'global', got '{self.scope}'")

    def value(self, reward: Reward) -> Array:
        """Return `(1 - ρ) r_nom + ρ r_worst` `(n,)`.

        Raises:
            DataError: the members state no predictive standard deviation.
        """
        require_members(self, reward)
        if reward.sigma is None:
            raise DataError(
                "the rule 'robust' trusts the member with the smallest predictive sd, and this reward has no sigma; "
                "use a head that gives one, such as 'brme', or the rule 'worst_case'"
            )
        nominal = np.take_along_axis(reward.draws, reward.sigma.argmin(axis=0)[None], axis=0)[0]
        if self.scope == "pointwise":
            worst = reward.draws.min(axis=0)
        else:
            worst = reward.draws[reward.draws.mean(axis=1).argmin()]
        return np.asarray((1 - self.robustness) * nominal + self.robustness * worst)
