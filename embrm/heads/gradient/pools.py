"""Pessimistic training on unlabelled pools: the price of what the reward itself would pick."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from embrm.core.data import Candidates
from embrm.core.recipe import Recipe, Variants
from embrm.errors import OptionError
from embrm.heads.gradient.rows import Matrices, RowSource

POOLS = 16  # of a step

pessimisms: Variants[Pessimism] = Variants("pessimism")


@dataclass(frozen=True)
class Pessimism(Recipe):
    """A price on what the reward would pick among n responses of a pool.

    Attributes:
        weight: of the price in the loss.
        draws: n.
    """

    family = pessimisms
    weight: float = 0.1
    draws: int = 8

    def __post_init__(self) -> None:
        if not self.weight >= 0 or self.draws < 2:
            raise OptionError(f"weight must be >= 0 and draws >= 2, got {self.weight} and {self.draws}")

    @abstractmethod
    def price(self, reward: Tensor) -> Tensor:
        """Return the price `(R,)` of rewards `(R, pools · n)`."""


@pessimisms.offer("pools")
@dataclass(frozen=True)
class PoolPessimism(Pessimism):
    """PET (2505.20556): weight · [r(own best of n) − r(mean response)] over the problem's pools."""

    def price(self, reward: Tensor) -> Tensor:
        """Return the weight times the mean over pools of max r − mean r `(R,)`, from rewards `(R, pools · n)`."""
        reward = reward.view(len(reward), POOLS, self.draws)
        return self.weight * (reward.amax(dim=-1) - reward.mean(dim=-1)).mean(dim=-1)


class PoolDraws:
    """Draws of n responses from each of some candidate pools."""

    def __init__(self, pools: Candidates, view: str, matrices: Matrices, *, draws: int) -> None:
        self.draws, self.texts = draws, POOLS * draws
        self.source = RowSource.of(pools.features, view, matrices)
        self.offsets = torch.from_numpy(pools.offsets)

    def gather(self, generator: torch.Generator) -> Tensor:
        """Return n responses of each of some pools, drawn with replacement, `(pools · n, d)`."""
        pool = torch.randint(len(self.offsets) - 1, (POOLS, 1), generator=generator)
        start, size = self.offsets[pool], self.offsets[pool + 1] - self.offsets[pool]
        place = torch.rand(POOLS, self.draws, generator=generator).mul(size).long().minimum(size - 1)
        return self.source.gather((start + place).reshape(-1).to(self.source.device))
