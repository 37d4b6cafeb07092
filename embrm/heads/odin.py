"""ODIN: a reward with its length part taken out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from embrm.core.arrays import Array
from embrm.core.data import Pairs
from embrm.core.registry import register
from embrm.errors import DataError, OptionError
from embrm.heads.gradient.head import GradientHead
from embrm.heads.gradient.latent import Latent
from embrm.heads.gradient.layers import Batch, Init, Params, affine, dense


def correlation(a: Tensor, b: Tensor, weight: Tensor) -> Tensor:
    """Return Pearson's correlation `(R,)` of the weighted rows `(R, n)`; 0 where one is constant."""
    weight = weight / weight.sum(dim=-1, keepdim=True)
    a, b = (v - (weight * v).sum(dim=-1, keepdim=True) for v in (a, b))
    spread = (weight * a.square()).sum(dim=-1) * (weight * b.square()).sum(dim=-1)
    out: Tensor = (weight * a * b).sum(dim=-1) / spread.clamp_min(1e-24).sqrt()
    return out


@register
@dataclass(frozen=True, kw_only=True)
class Odin(GradientHead):
    """ODIN: two linear read-outs of one latent, one for quality and one for length; the first is the reward.

    Bradley–Terry on r_q + r_ℓ, plus length_weight · [(1 − ρ(len, r_ℓ)) + |ρ(len, r_q)| + |ρ(len, r_q + r_ℓ)|] +
    orthogonality · |w_q·w_ℓ|, ρ Pearson's correlation over the texts of a batch, the read-outs centred and of unit
    length (Chen et al. 2402.07319; the terms as in the authors' code). The third correlation works against the first,
    so `total_length` can turn it off.

    Attributes:
        length_weight: price of the length terms; 0 is a plain reward of two read-outs.
        total_length: whether the sum of both rewards must be free of length too, as released.
        orthogonality: price of an overlap of the two read-outs.
        latent_dim: k.
        hidden: width of the encoder's hidden layer.
    """

    rounds: ClassVar[bool] = True
    length_weight: float = 1.0
    total_length: bool = True
    orthogonality: float = 1.0
    latent_dim: int = 32
    hidden: int = 128
    learning_rate: float = 5e-3  # read-outs of unit length make small rewards at first
    patience: int = 0  # the length terms and the preferences improve at different times, and neither is the whole

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.latent_dim < 2 or self.hidden < 1 or min(self.length_weight, self.orthogonality) < 0:
            raise OptionError(
                "latent_dim must be >= 2, hidden >= 1, length_weight and orthogonality >= 0, "
                f"got {self.latent_dim}, {self.hidden}, {self.length_weight} and {self.orthogonality}"
            )

    def space(self) -> Mapping[str, Sequence[Any]]:
        """Return step sizes and shrinkages; the price of length is no matter of preferences, which may like length."""
        return {**super().space(), "learning_rate": (1e-3, 5e-3, 1e-2)}

    def parameters(self, width: int) -> dict[str, Init]:
        """Return the layers' parameters."""
        layers = dense("input", width, self.hidden) | dense("latent", self.hidden, self.latent_dim)
        return layers | dense("read", self.latent_dim, 2, bias=False)

    def encode(self, params: Params, x: Tensor) -> Latent:
        """Return the latent; it is trained, which gives the unit read-outs their scale."""
        return Latent(affine(params, "latent", functional.gelu(affine(params, "input", x))))

    @staticmethod
    def _read(params: Params) -> Tensor:
        """Return the read-outs `(R, k, 2)` of quality and length, centred and of unit length."""
        weight = params["read.weight"]
        return functional.normalize(weight - weight.mean(dim=1, keepdim=True), dim=1)

    def decode(self, params: Params, z: Tensor) -> Tensor:
        """Return the quality reward r_q."""
        return torch.matmul(z, self._read(params)[:, :, :1]).squeeze(-1)

    def pair_numbers(self, pairs: Pairs) -> Array:
        """Return the lengths of the chosen and the rejected texts `(2, n)`, standardised.

        Raises:
            DataError: the features have no lengths.
        """
        length = pairs.features.length
        if length is None:
            raise DataError(
                "odin takes the length out of the reward, and these features have no lengths; "
                "pass Features(..., length=characters)"
            )
        both = np.stack([length[pairs.chosen], length[pairs.rejected]])
        return np.asarray((both - both.mean()) / max(float(both.std()), 1e-12))

    def preference(self, params: Params, z: Tensor, reward: Tensor, batch: Batch) -> Tensor:
        """Return the loss of r_q + r_ℓ and, the same for all pairs, the price of length in the wrong place."""
        read = self._read(params)
        length = torch.matmul(z, read[:, :, 1:]).squeeze(-1)
        known, weight = (torch.cat([v, w], dim=-1) for v, w in (batch.extra, (batch.weight, batch.weight)))
        price = 1 - correlation(known, length, weight) + correlation(known, reward, weight).abs()
        if self.total_length:
            price = price + correlation(known, reward + length, weight).abs()
        overlap = (read[:, :, 0] * read[:, :, 1]).sum(dim=1).abs()
        price = self.length_weight * price + self.orthogonality * overlap
        return self.loss(reward + length, batch) + price[:, None]
