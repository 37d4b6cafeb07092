"""Pessimistic training on unlabelled pools: the price of what the reward itself would pick."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from embrm.core.data import Candidates
from embrm.errors import OptionError
from embrm.heads.gradient.rows import Matrices, RowSource
from embrm.heads.gradient.variant import Variant

POOLS = 16  # of a step


@dataclass(frozen=True)
class PoolPessimism(Variant):
    """PET (2505.20556): a price on r(own best of n) − r(mean response) over the problem's pools.

    Attributes:
        weight: c, the price.
        draws: n of that best-of-n.
    """

    option: ClassVar[str] = "pessimism"
    name: ClassVar[str] = "pools"
    weight: float = 0.1
    draws: int = 8

    def __post_init__(self) -> None:
        if not self.weight >= 0 or self.draws < 2:
            raise OptionError(f"pessimism: weight must be >= 0 and draws >= 2, got {self.weight} and {self.draws}")

    def price(self, reward: Tensor) -> Tensor:
        """Return c · mean over pools of max r − mean r `(R,)`, from rewards `(R, pools · n)`."""
        reward = reward.view(len(reward), POOLS, self.draws)
        return self.weight * (reward.amax(dim=-1) - reward.mean(dim=-1)).mean(dim=-1)


class PoolDraws:
    """Draws of n responses from each of some candidate pools."""

    def __init__(self, pools: Candidates, view: str, matrices: Matrices, *, draws: int) -> None:
        self.draws, self.texts = draws, POOLS * draws
        self.source = RowSource.of(pools.features, view, matrices)
        self.offsets = torch.from_numpy(pools.offsets)

    def gather(self, generator: torch.Generator, out: Tensor) -> None:
        """Write n responses of each of some pools, drawn with replacement, into `out (pools · n, d)`."""
        pool = torch.randint(len(self.offsets) - 1, (POOLS, 1), generator=generator)
        start, size = self.offsets[pool], self.offsets[pool + 1] - self.offsets[pool]
        place = torch.rand(POOLS, self.draws, generator=generator).mul(size).long().minimum(size - 1)
        self.source.gather((start + place).reshape(-1).to(self.source.device), out=out)
