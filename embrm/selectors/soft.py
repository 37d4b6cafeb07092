"""Soft best-of-n."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy.typing as npt

from embrm import bestofn
from embrm.bestofn import Convention, Curve, PathRule, tilted_pools
from embrm.core.arrays import Array, IntArray, positive
from embrm.core.registry import register
from embrm.core.results import Reward
from embrm.selectors._choosing import served
from embrm.selectors._selector import RandomRule


@register
@dataclass(frozen=True, kw_only=True)
class Soft(RandomRule):
    """Draw by softmax(r/τ) over the pool (soft best-of-n, 2505.03156).

    Attributes:
        temperature: τ > 0 in units of the reward; towards 0 the best, towards infinity any response.

    Examples:
        >>> import numpy as np
        >>> from embrm.core.results import Reward
        >>> Soft()(Reward([[0.0, np.log(2), np.log(5)]], "point"), seed=0).probability
        array([0.125, 0.25 , 0.625])
    """

    conventions: ClassVar[tuple[Convention, ...]] = ("population",)
    strength: ClassVar[PathRule | None] = "tilt"

    temperature: float = 1.0

    def __post_init__(self) -> None:
        positive("temperature", self.temperature)

    def probability(self, value: Array, offsets: IntArray) -> Array:
        """Return the softmax of `value` within each pool `(n,)`, exactly."""
        return tilted_pools(value, offsets, 1 / self.temperature)

    def curve(
        self,
        reward: Reward,
        gold: npt.ArrayLike,
        sizes: npt.ArrayLike,
        *,
        offsets: npt.ArrayLike | None = None,
        pool: Convention | None = None,
        penalty: npt.ArrayLike | None = None,
        seed: int,
    ) -> Curve:
        """Return soft best-of-n's curve, whose noise alone is left to Monte Carlo; see `embrm.bestofn.soft`."""
        served(self, pool)
        value = reward.centred().mean
        return bestofn.soft(value, gold, sizes, temperature=self.temperature, seed=seed, offsets=offsets)
