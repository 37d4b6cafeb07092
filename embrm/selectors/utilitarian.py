"""The mean of what annotators gain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embrm.core.arrays import Array
from embrm.core.registry import register
from embrm.selectors._welfare import WelfareRule


@register
@dataclass(frozen=True, kw_only=True)
class Utilitarian(WelfareRule):
    """Largest mean over annotators of their z-scored gains (Zhang et al. 2409.00717 study such welfares' data needs).

    Of that paper the part that a reward serves is here: rewards of several annotators from preferences alone, a lower
    bound of each, and (`embrm.evaluation.annotators`) how well unilateral changes are covered. Its Markov games of
    several agents, whose joint actions unfold over time, are left out: here all annotators judge one response.

    Attributes:
        weight: κ of the standard deviation of each gain; 0 is off.

    Examples:
        >>> from embrm.core.results import Reward
        >>> reward = Reward([[0.0, 1.0, 3.0], [2.0, 1.5, 0.0]], "members", annotator=("ann", "bob"))
        >>> Utilitarian()(reward).index.item()
        1
    """

    def welfare(self, gains: Array) -> Array:
        """Return the mean."""
        return np.asarray(gains.mean(axis=0))
