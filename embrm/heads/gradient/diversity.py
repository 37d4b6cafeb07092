"""What makes the members of a gradient head differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from embrm.core.recipe import Recipe, Variants
from embrm.errors import OptionError
from embrm.heads.gradient.layers import Params

diversities: Variants[Diversity] = Variants("diversity")


@dataclass(frozen=True)
class Diversity(Recipe):
    """What members differ in beside initialisation and noise.

    Attributes:
        resampled: whether each member has a bootstrap of its own over prompts.
        together: whether the members of a problem are one likelihood; they see the same pairs in a step then.
    """

    family = diversities
    resampled: ClassVar[bool] = False
    together: ClassVar[bool] = False

    def likely(self, reward: Tensor, members: int) -> Tensor:
        """Return the rewards `(R, n)` that the likelihood is of."""
        return reward

    def gain(self, params: Params, members: int) -> Tensor | None:
        """Return what each member's loss is lowered by for the members' differences, `(R,)`, or None."""
        return None


@diversities.offer("seed")
@dataclass(frozen=True)
class Seeds(Diversity):
    """All members train on the same pairs, each in an order of its own."""


@diversities.offer("bootstrap")
@dataclass(frozen=True)
class Bootstraps(Diversity):
    """Each member trains on a bootstrap of its own over prompts."""

    resampled: ClassVar[bool] = True


@diversities.offer("rank")
@dataclass(frozen=True)
class Rank(Diversity):
    """Members are paid for stacked input layers A with a large ‖A‖_*/‖A‖_F (UP-RLHF, 2401.00243).

    The likelihood is that of the members' mean reward, so they share their batches. A single member is paid for the
    rank of its own input layer.

    Attributes:
        bonus: λ, the pay; larger makes the members differ more.
    """

    together: ClassVar[bool] = True
    bonus: float = 0.1

    def __post_init__(self) -> None:
        if not self.bonus >= 0:
            raise OptionError(f"bonus must be >= 0, got {self.bonus}")

    def likely(self, reward: Tensor, members: int) -> Tensor:
        """Return the members' mean reward, for each of them."""
        mean = reward.view(-1, members, reward.shape[-1]).mean(dim=1)
        return mean.repeat_interleave(members, dim=0)

    def gain(self, params: Params, members: int) -> Tensor:
        """Return a member's share of λ‖A‖_*/‖A‖_F."""
        return self.bonus * relative_rank(params["input.weight"], members) / members


def relative_rank(weight: Tensor, members: int) -> Tensor:
    """Return ‖A‖_*/‖A‖_F `(R,)`, A the stacked first layers `(d, members · h)` of the members of each problem."""
    _, width, hidden = weight.shape
    stacked = weight.view(-1, members, width, hidden).movedim(1, 2).reshape(-1, width, members * hidden)
    ratio: Tensor = torch.linalg.matrix_norm(stacked, "nuc") / torch.linalg.matrix_norm(stacked)
    return ratio.repeat_interleave(members, dim=0)
