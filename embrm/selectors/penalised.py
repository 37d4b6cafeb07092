"""A reward minus any number per row."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from embrm import bestofn
from embrm.bestofn import Convention, Curve, PathRule
from embrm.core.arrays import as_vector, check_offsets
from embrm.core.registry import register
from embrm.core.results import Choice, Reward
from embrm.errors import DataError, OptionError
from embrm.selectors._choosing import choose_largest, served


@register
@dataclass(frozen=True, kw_only=True)
class Penalised:
    """Largest mean reward minus a weighted number per row, such as a detector's score.

    With the Mahalanobis distance of the latent this is InfoRM's IBL, with the `caution` detector's error caution
    (2604.04648), with minus the mean cosine to the pool minimum Bayes risk (2404.01054).

    Attributes:
        weight: of the number, in reward per unit of it; 0 is the mean alone.

    Examples:
        >>> from embrm.core.results import Reward
        >>> choice = Penalised(weight=0.5)(Reward([[1.0, 2.0]], "point"), penalty=[0.0, 4.0])
        >>> choice.index.item(), choice.value
        (0, array([1., 0.]))
    """

    conventions: ClassVar[tuple[Convention, ...]] = ("population", "support")
    strength: ClassVar[PathRule | None] = "best"

    weight: float = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.weight):
            raise OptionError(f"weight must be finite, got {self.weight}")

    def __call__(
        self,
        reward: Reward,
        *,
        offsets: npt.ArrayLike | None = None,
        penalty: npt.ArrayLike | None = None,
        seed: int | None = None,
    ) -> Choice:
        """Choose the row of the largest `r - weight · penalty` in each pool.

        Raises:
            DataError: there is no penalty, or it is not finite or not of the reward's length.
        """
        if penalty is None:
            raise DataError("the rule 'penalised' needs penalty, one number per row, such as a detector's scores")
        distance = as_vector(penalty, "penalty", len(reward), np.float64)
        value = reward.centred().mean - self.weight * distance
        return choose_largest(value, check_offsets(offsets, len(reward)))

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
        """Return the exact best-of-n curve of the penalised reward; see `embrm.selectors.Selector`."""
        value = self(reward, offsets=offsets, penalty=penalty, seed=seed).value
        return bestofn.curve(value, gold, sizes, pool=served(self, pool), offsets=offsets)
