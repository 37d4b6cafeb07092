"""The conditional energy of a reward given a text, trained by noise contrast in the one loop."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from embrm.core.arrays import Array
from embrm.core.data import Pairs
from embrm.heads.gradient.head import GradientHead
from embrm.heads.gradient.latent import Latent
from embrm.heads.gradient.layers import Batch, Init, Params, affine, dense

BASE = "base reward"  # the view that holds the standardised reward of the base


@dataclass(frozen=True, eq=False)
class _WithNoise(Latent):
    """A hidden layer that carries its noise along: the loss contrasts with it."""

    def sample(self, noise: Tensor) -> Tensor:
        return torch.cat([self.loc, noise], dim=-1)


@dataclass(frozen=True, kw_only=True)
class Energy(GradientHead):
    """f(e, r) = −a(e)·(r − m(e))² + a small network of both; its exponential is a density over r up to a constant.

    Attributes:
        negatives, spread, noise, penalty: see `Ebrm`.
        hidden: width of the text's layer; width: of the network's layer over both.
    """

    negatives: int
    spread: float
    noise: float
    penalty: float
    hidden: int
    width: int = 16

    def parameters(self, width: int) -> dict[str, Init]:
        """Return the parameters: one layer gives m, a and the text's part of the network."""
        layers = dense("input", width, self.hidden) | dense("text", self.hidden, 2 + self.width)
        return layers | dense("reward", 1, self.width, bias=False) | dense("out", self.width, 1, bias=False)

    def encode(self, params: Params, x: Tensor) -> Latent:
        """Return the hidden layer of the text."""
        return _WithNoise(functional.gelu(affine(params, "input", x)))

    def decode(self, params: Params, z: Tensor) -> Tensor:
        """Return m, where the quadratic part of the energy peaks."""
        return affine(params, "text", z[..., : self.hidden])[..., 0]

    def energy(self, params: Params, h: Tensor, reward: Tensor) -> Tensor:
        """Return f `(R, n, g)` at rewards `(R, n, g)` of texts with hidden layers `(R, n, hidden)`."""
        text = affine(params, "text", h)
        peak, narrowness, part = text[..., :1], functional.softplus(text[..., 1:2]), text[..., 2:]
        both = part.unsqueeze(-2) + reward.unsqueeze(-1) * params["reward.weight"].unsqueeze(1)
        bent = torch.matmul(torch.tanh(both), params["out.weight"].unsqueeze(1)).squeeze(-1)
        return bent - narrowness * (reward - peak).square()

    def noise_shape(self, texts: int) -> tuple[int, int]:
        """Return `(texts, negatives + 1)`; the first is that of the positive."""
        return (texts, self.negatives + 1)

    def pair_numbers(self, pairs: Pairs) -> Array:
        """Return the base rewards of the chosen and the rejected texts, `(2, n)`."""
        reward = pairs.features.matrix(BASE)[:, 0]
        return np.stack([reward[pairs.chosen], reward[pairs.rejected]])

    def preference(self, params: Params, z: Tensor, reward: Tensor, batch: Batch) -> Tensor:
        """Return −log softmax of f − log p_N at the positive among the negatives, summed over a pair's texts."""
        h, noise = z[..., : self.hidden], z[..., self.hidden :]
        if noise.shape[-1] == 0:  # validation: the same noise every time
            shape = (1, z.shape[1], self.negatives + 1)
            noise = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(z.device)
        step = torch.cat([self.noise * noise[..., :1], noise[..., 1:]], dim=-1)
        known = torch.cat([batch.extra[0], batch.extra[1]], dim=-1)
        f = self.energy(params, h, known.unsqueeze(-1) + self.spread * step)
        score = f + 0.5 * step.square()  # − log p_N up to a constant
        loss = torch.logsumexp(score, dim=-1) - score[..., 0]
        if self.penalty:
            loss = loss + self.penalty * f.square().mean(dim=-1)
        of_chosen, of_rejected = loss.chunk(2, dim=-1)
        return of_chosen + of_rejected
