"""The standard reward model: a small network on the frozen embedding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor
from torch.nn import functional

from embrm.core.registry import register
from embrm.errors import OptionError
from embrm.heads.gradient.head import GradientHead
from embrm.heads.gradient.latent import Latent
from embrm.heads.gradient.layers import Init, Params, affine, dense


@register
@dataclass(frozen=True, kw_only=True)
class Mlp(GradientHead):
    """The standard reward model: a small network on the embedding (Bradley–Terry or classification).

    Loss −log σ(r_w − r_l) + c·(r_w + r_l)² (Ouyang et al. 2203.02155; c is TRL's `center_rewards_coefficient`), or
    with `loss="classify"` pointwise binary classification, whose logit is the reward (Sun et al. 2411.04991). The
    latent is the last hidden layer.

    Attributes:
        hidden: widths of the hidden layers.
    """

    rounds: ClassVar[bool] = True
    by_steps: ClassVar[bool] = True
    hidden: tuple[int, ...] = (128, 64)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.hidden or min(self.hidden) < 1:
            raise OptionError(f"hidden must give at least one positive width, got {self.hidden}; 'linear' has none")

    def space(self) -> Mapping[str, Sequence[Any]]:
        """Return step sizes, shrinkages and widths."""
        return {**super().space(), "hidden": ((32,), (128, 64), (512, 128))}

    def parameters(self, width: int) -> dict[str, Init]:
        """Return the layers' parameters."""
        out = dense("input", width, self.hidden[0])
        for i, (a, b) in enumerate(zip(self.hidden, self.hidden[1:], strict=False), 1):
            out |= dense(f"hidden{i}", a, b)
        return out | dense("reward", self.hidden[-1], 1, bias=False)

    def encode(self, params: Params, x: Tensor) -> Latent:
        """Return the activations of the last hidden layer."""
        h = functional.gelu(affine(params, "input", x))
        for i in range(1, len(self.hidden)):
            h = functional.gelu(affine(params, f"hidden{i}", h))
        return Latent(h)

    def decode(self, params: Params, z: Tensor) -> Tensor:
        """Return the linear read-out."""
        return affine(params, "reward", z).squeeze(-1)
