"""What the annotator gains who gains least."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embrm.core.arrays import Array
from embrm.core.registry import register
from embrm.selectors._welfare import WelfareRule


@register
@dataclass(frozen=True, kw_only=True)
class Egalitarian(WelfareRule):
    """Largest gain of the annotator who gains least, of z-scored gains (the Rawlsian welfare; after 2409.00717).

    What is taken of that paper and what is left out, `utilitarian` says.

    Attributes:
        weight: κ of the standard deviation of each gain; 0 is off.

    Examples:
        >>> from embrm.core.results import Reward
        >>> reward = Reward([[0.0, 1.0, 3.0], [2.0, 1.0, 0.0]], "members", annotator=("ann", "bob"))
        >>> Egalitarian()(reward).index.item()
        1
    """

    def welfare(self, gains: Array) -> Array:
        """Return the minimum."""
        return np.asarray(gains.min(axis=0))
