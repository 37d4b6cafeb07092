"""Thompson sampling."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from embrm import bestofn
from embrm.bestofn import Convention, Curve, PathRule
from embrm.core.arrays import check_offsets
from embrm.core.registry import register
from embrm.core.results import Choice, Reward
from embrm.selectors._choosing import argmax_share, choose_largest, generator, require_several, served


@register
@dataclass(frozen=True, kw_only=True)
class Thompson:
    """Best by one joint draw, taken at random for each pool.

    Choice.probability is exact for an ensemble, whose members are all the draws that there are; for a posterior it is
    an estimate from the draws given.

    Examples:
        >>> from embrm.core.results import Reward
        >>> Thompson()(Reward([[1.0, 2.0], [4.0, 3.0]], "members"), seed=0).probability
        array([0.5, 0.5])
    """

    conventions: ClassVar[tuple[Convention, ...]] = ("population", "support")
    strength: ClassVar[PathRule | None] = None

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
        """Return the mean of the draws' own best-of-n curves, whose mean KL bounds its own; see `Selector`."""
        require_several(self, reward)
        convention = served(self, pool)
        parts = [bestofn.curve(draw, gold, sizes, pool=convention, offsets=offsets) for draw in reward.centred().draws]
        means = {
            x: np.mean([getattr(c, x) for c in parts], axis=0) for x in ("kl", "proxy_per_prompt", "gold_per_prompt")
        }
        return replace(parts[0], **means)
