"""Thompson sampling."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import check_offsets
from embrm.core.registry import register
from embrm.core.results import Choice, Reward
from embrm.selectors._selector import argmax_share, choose_largest, generator, require_several


@register
@dataclass(frozen=True, kw_only=True)
class Thompson:
    """Best by one joint draw, taken at random for each pool.

    Choice.probability is exact for an ensemble, whose members are all the draws that there are; for a posterior it is
    an estimate from the draws given.
    """

    def __call__(
        self,
        reward: Reward,
        *,
        offsets: npt.ArrayLike | None = None,
        penalty: npt.ArrayLike | None = None,
        seed: int | None = None,
    ) -> Choice:
        """Choose; Choice.value is the reward under the draw that was taken."""
        rng, bounds = generator(self, seed), check_offsets(offsets, len(reward))
        require_several(self, reward)
        draws, counts = reward.centred().draws, np.diff(bounds)
        taken = np.repeat(rng.integers(len(draws), size=len(counts)), counts)
        choice = choose_largest(draws[taken, np.arange(len(reward))], bounds)
        return Choice(choice.index, choice.value, argmax_share(draws, bounds).mean(axis=0))
