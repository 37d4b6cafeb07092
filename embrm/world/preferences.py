"""Annotators: who of two responses they prefer, by what they like and how often they err."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import BoolArray
from embrm.errors import OptionError


def prefer(
    first: npt.ArrayLike, second: npt.ArrayLike, *, seed: int, flips: float = 0.0, temperature: float = 0.0
) -> BoolArray:
    """Return `(n,)` True where the annotator prefers the first of two responses.

    Args:
        first: `(n,)` utilities of the first ones (`World.utility`).
        second: `(n,)` utilities of the second ones.
        seed: determines noise, flips and how ties fall (by a fair coin).
        flips: label noise: share of labels flipped at random, whatever the difference; 0 means none.
        temperature: Bradley–Terry noise, P(first) = σ((first − second) / temperature); 0 means the better one always.

    Raises:
        OptionError: `flips` is outside [0, 0.5] or the temperature negative.
    """
    if not 0 <= flips <= 0.5:
        raise OptionError(f"flips must be inside [0, 0.5], got {flips}; beyond 0.5 the labels say the opposite")
    if not temperature >= 0:
        raise OptionError(f"temperature must be >= 0, got {temperature}; 0 means no Bradley–Terry noise")
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    rng = np.random.default_rng(seed)
    coin, flip = rng.random((2, len(difference)))
    with np.errstate(over="ignore"):
        chance = 1 / (1 + np.exp(-difference / temperature)) if temperature else (np.sign(difference) + 1) / 2
    return np.asarray((coin < chance) ^ (flip < flips))
