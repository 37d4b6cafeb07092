"""What every selector is: a stateless recipe from a reward to a choice in each pool."""

from __future__ import annotations

from typing import Protocol

import numpy.typing as npt

from embrm.outcomes import Choice, Reward


class Selector(Protocol):
    """A rule that picks one candidate of each pool."""

    def __call__(
        self,
        reward: Reward,
        *,
        offsets: npt.ArrayLike | None = None,
        penalty: npt.ArrayLike | None = None,
        seed: int | None = None,
    ) -> Choice:
        """Choose.

        Args:
            reward: beliefs about `n` candidates.
            offsets: `(pools + 1,)` boundaries of the pools; None means one pool.
            penalty: `(n,)` subtracted by rules that take one.
            seed: for random rules, which refuse None.
        """
