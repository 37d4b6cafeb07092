"""Pessimistic training on unlabelled pools: the price of what the reward itself would pick."""

from __future__ import annotations

import torch
from torch import Tensor

from embrm.core.data import Candidates
from embrm.heads.gradient.network import Network, Params
from embrm.heads.gradient.rows import Matrices, RowSource

POOLS = 16  # of a step


class Pools:
    """Draws from candidate pools, and PET's term for them (2505.20556)."""

    def __init__(self, head: Network, pools: Candidates, matrices: Matrices) -> None:
        self.head = head
        self.texts = POOLS * head.pool_draws
        self.source = RowSource.of(pools.features, head.view, matrices)
        self.offsets = torch.from_numpy(pools.offsets)

    def gather(self, generator: torch.Generator, out: Tensor) -> None:
        """Write n responses of each of some pools, drawn with replacement, into `out (pools · n, d)`."""
        pool = torch.randint(len(self.offsets) - 1, (POOLS, 1), generator=generator)
        start, size = self.offsets[pool], self.offsets[pool + 1] - self.offsets[pool]
        place = torch.rand(POOLS, self.head.pool_draws, generator=generator).mul(size).long().minimum(size - 1)
        self.source.gather((start + place).reshape(-1).to(self.source.device), out=out)

    def price(self, params: Params, x: Tensor) -> Tensor:
        """Return c · mean over pools of max r − mean r `(R,)`: best of n against the response that one draw gives."""
        reward = self.head.decode(params, self.head.encode(params, x).loc)
        reward = reward.view(len(reward), POOLS, self.head.pool_draws)
        return self.head.pessimism * (reward.amax(dim=-1) - reward.mean(dim=-1)).mean(dim=-1)
