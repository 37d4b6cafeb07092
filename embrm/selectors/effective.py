"""The certainty equivalent of an uncertain reward."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from embrm.core.arrays import Array, positive
from embrm.core.registry import register
from embrm.core.results import Reward
from embrm.errors import OptionError
from embrm.selectors._choosing import require_several
from embrm.selectors._selector import ValueRule


@register
@dataclass(frozen=True, kw_only=True)
class Effective(ValueRule):
    """Largest certainty equivalent -τ log mean exp(-r/τ): between the worst case (τ → 0) and the mean (τ → ∞).

    Attributes:
        temperature: τ > 0, in units of the reward.
        form: "exponential" over the draws, or "gaussian", which is `μ - s²/2τ` and no less than the smallest draw.

    Examples:
        >>> from embrm.core.results import Reward
        >>> reward = Reward([[1.0], [3.0]], "members")
        >>> [Effective(temperature=tau)(reward).value.round(2).item() for tau in (0.01, 1.0, 1000.0)]
        [1.01, 1.57, 2.0]
    """

    temperature: float = 1.0
    form: Literal["exponential", "gaussian"] = "exponential"

    def __post_init__(self) -> None:
        positive("temperature", self.temperature)
        if self.form not in ("exponential", "gaussian"):
            raise OptionError(f"form must be 'exponential' or 'gaussian', got '{self.form}'")

    def value(self, reward: Reward) -> Array:
        """Return the certainty equivalent `(n,)`."""
        require_several(self, reward)
        r, tau = reward.draws, self.temperature
        worst = r.min(axis=0)
        if self.form == "gaussian":
            return np.asarray(np.maximum(reward.mean - reward.sd**2 / (2 * tau), worst))
        # Distances to the smallest draw neither overflow for small τ nor lose digits for large τ.
        return np.asarray(worst - tau * np.log1p(np.expm1((worst - r) / tau).mean(axis=0)))
