"""Inference-time pessimism."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from embrm import bestofn
from embrm.bestofn import Convention, Curve
from embrm.bestofn.stochastic import acceptance, first_accepted
from embrm.core.arrays import Array, IntArray, positive
from embrm.core.registry import register
from embrm.core.results import Reward
from embrm.selectors._choosing import served
from embrm.selectors._selector import RandomRule


@register
@dataclass(frozen=True, kw_only=True)
class Pessimistic(RandomRule):
    """Draw until a response is accepted with probability relu((r - λ)/β)/M (pessimism, 2503.21878).

    The pool is taken as the policy: its rows are drawn with replacement, and λ makes the mean weight 1 over them.

    Attributes:
        beta: strength of the regularisation towards the reference policy, in units of the reward; larger is cautious.
        cap: M, the largest weight that is not cut; None takes the pool's largest, so that nothing is cut.
        draws: after so many without an acceptance a random response is taken; None means the size of the pool.

    Examples:
        >>> from embrm.core.results import Reward
        >>> reward = Reward([[0.0, 1.0, 1.5]], "point")
        >>> [Pessimistic(beta=beta, draws=1000)(reward, seed=0).probability.round(2).tolist() for beta in (0.1, 10.0)]
        [[0.0, 0.0, 1.0], [0.31, 0.34, 0.36]]
    """

    conventions: ClassVar[tuple[Convention, ...]] = ("support",)

    beta: float = 0.1
    cap: float | None = None
    draws: int | None = None

    def __post_init__(self) -> None:
        positive("beta", self.beta)
        for name in ("cap", "draws"):
            if getattr(self, name) is not None:
                positive(name, getattr(self, name))

    def probability(self, value: Array, offsets: IntArray) -> Array:
        """Return the probability of each row `(n,)`, exactly."""
        accept = acceptance(value, offsets, beta=self.beta, cap=self.cap)
        return first_accepted(accept, offsets, draws=np.diff(offsets) if self.draws is None else self.draws)

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
        """Return the exact curve over the number n of draws, whatever `draws` is; see `embrm.bestofn.pessimistic`."""
        served(self, pool)
        value = reward.centred().mean
        return bestofn.pessimistic(value, gold, sizes, beta=self.beta, cap=self.cap, offsets=offsets)
