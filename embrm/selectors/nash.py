"""The product of what annotators gain."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embrm.core.arrays import Array
from embrm.core.registry import register
from embrm.selectors._welfare import WelfareRule


@register
@dataclass(frozen=True, kw_only=True)
class Nash(WelfareRule):
    """Largest product of the annotators' gains over the mean response (Nash's bargaining; after 2409.00717).

    The mean response of the pool is the point of disagreement: what everybody has where nothing is agreed on. The value
    is the product's root, the geometric mean of the gains. A response by which somebody loses comes after all those
    by which nobody does, and those are ranked by the largest loss. What is taken of the paper and what is left out,
    `utilitarian` says.

    Attributes:
        weight: κ of the standard deviation of each gain; 0 is off.

    Examples:
        >>> from embrm.core.results import Reward
        >>> reward = Reward([[0.0, 2.0, 4.0, -6.0], [3.0, 2.0, 0.5, -5.5]], "members", annotator=("ann", "bob"))
        >>> Nash()(reward).index.item()
        1
    """

    def welfare(self, gains: Array) -> Array:
        """Return the geometric mean where all gain, else the smallest gain."""
        least = gains.min(axis=0)
        with np.errstate(divide="ignore", invalid="ignore"):
            product = np.exp(np.log(gains).mean(axis=0))
        return np.asarray(np.where(least > 0, product, least))
