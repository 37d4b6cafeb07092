"""Ways to be hacked: what is wrong with the preferences that a reward is learned from."""

from __future__ import annotations

import math
from dataclasses import dataclass

from embrm.errors import OptionError


@dataclass(frozen=True)
class Mechanism:
    """What is wrong with training pairs, beside labels that are flipped at random; the defaults are fair.

    Attributes:
        bias: how much annotators follow their likings beyond the gold.
        confounding: how far texts were collected that have style where they have quality; labels follow the gold
            alone. A text is kept with the probability exp(confounding · (quality · style − 1)), both between −1 and 1
            (see `embrm.world.collect`).
        coverage: share of the training topics (of a pool: of its training prompts) that the pairs are about.
        unseen: styles of which no training text has any use.
    """

    bias: float = 0.0
    confounding: float = 0.0
    coverage: float = 1.0
    unseen: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not math.isfinite(self.bias):
            raise OptionError(f"bias must be finite, got {self.bias}; 0 means annotators who follow the gold")
        if not (math.isfinite(self.confounding) and self.confounding >= 0):
            raise OptionError(f"confounding must be >= 0 and finite, got {self.confounding}; 0 means none")
        if not 0 < self.coverage <= 1:
            raise OptionError(f"coverage must be inside (0, 1], got {self.coverage}; 1 means all training topics")
        object.__setattr__(self, "unseen", tuple(self.unseen))
