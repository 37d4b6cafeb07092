"""What rules about several annotators share: what each of them gains over the pool, and how sure that is."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import Array, check_offsets, positive
from embrm.core.results import Choice, Reward
from embrm.errors import DataError
from embrm.selectors._choosing import choose_largest, pool_of, require_members
from embrm.selectors._registry import registry
from embrm.selectors._selector import ValueRule


@dataclass(frozen=True, kw_only=True)
class WelfareRule(ValueRule):
    """Base of the rules that weigh what annotators gain against each other.

    What annotator a gains by a response is its reward less its mean over the pool, as the scales and the offsets of
    their rewards are not comparable in units of that annotator's standard deviation within pools. Rewards whose draws
    name no annotators are read as one annotator a member. The value is back in units of the mean reward.

    Attributes:
        weight: κ >= 0: a gain is taken at its mean over the annotator's draws minus κ standard deviations; 0 is off.
    """

    weight: float = 0.0

    def __post_init__(self) -> None:
        positive("weight", self.weight, zero=True)

    @abstractmethod
    def welfare(self, gains: Array) -> Array:
        """Return what the gains `(annotators, n)` are worth together, `(n,)`; equal gains are worth themselves."""

    def value(self, reward: Reward) -> Array:
        """Return the value `(n,)` of rows that are one pool."""
        return self(reward).value

    def __call__(
        self,
        reward: Reward,
        *,
        offsets: npt.ArrayLike | None = None,
        penalty: npt.ArrayLike | None = None,
        seed: int | None = None,
    ) -> Choice:
        """Choose the row of the largest welfare in each pool.

        Raises:
            DataError: posterior draws that name no annotators, or a lower bound of annotators with a single draw each.
        """
        bounds = check_offsets(offsets, len(reward))
        if reward.annotator is None and len(reward.draws) > 1:
            require_members(self, reward)
        pool, sizes = pool_of(bounds), np.diff(bounds)
        gain, low, mean = [], [], []
        for name, draws in reward.centred().by_annotator().items():
            usual = (np.add.reduceat(draws, bounds[:-1], axis=1) / sizes)[:, pool]
            own = draws - usual
            if self.weight and len(own) < 2:
                raise DataError(
                    f"the rule '{registry.name_of(self)}' with a weight needs several draws of each annotator, and "
                    f"'{name}' has one; fit with a base of several members or draws, such as laplace, or set weight=0"
                )
            gain.append(own.mean(axis=0))
            low.append(gain[-1] - self.weight * own.std(axis=0))
            mean.append(usual.mean(axis=0))
        size = np.abs(gain).max()  # squares of very small or large numbers are none
        sd = size * np.sqrt(np.mean(np.square(np.array(gain) / (size or 1)), axis=1, keepdims=True))
        scale = sd.mean()
        value = np.mean(mean, axis=0) + scale * self.welfare(np.array(low) / np.where(sd > 0, sd, 1))
        return choose_largest(value, bounds)
