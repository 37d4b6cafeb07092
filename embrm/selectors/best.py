"""The plain best: one reward model, no doubt."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embrm.core.arrays import Array
from embrm.core.registry import register
from embrm.core.results import Reward
from embrm.errors import OptionError
from embrm.selectors._selector import ValueRule


@register
@dataclass(frozen=True, kw_only=True)
class Best(ValueRule):
    """Largest reward of one member, or of the posterior mean.

    Attributes:
        member: which member speaks when the reward has members.

    Examples:
        >>> from embrm.core.results import Reward
        >>> Best()(Reward([[1.0, 5.0], [3.0, 1.0]], "members")).value
        array([1., 5.])
    """

    member: int = 0

    def value(self, reward: Reward) -> Array:
        """Return one member's reward, or the posterior mean `(n,)`.

        Raises:
            OptionError: there is no such member.
        """
        if reward.kind == "posterior":
            return reward.mean
        if not 0 <= self.member < len(reward.draws):
            raise OptionError(f"member must be inside 0..{len(reward.draws) - 1}, got {self.member}")
        return np.asarray(reward.draws[self.member])
