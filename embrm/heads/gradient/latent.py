"""Latents of a batch of texts: what scoring reads, how a draw is made, and their divergence from the prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Latent:
    """A latent `(R, n, k)` of a batch; subclasses say how it is drawn.

    Attributes:
        loc: what scoring reads.
    """

    loc: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Return a draw `(R, n, k)` made of standard normal noise of the shape that the head's `noise_shape` gave."""
        return self.loc

    def kl(self) -> Tensor:
        """Return the KL divergence from the prior, of each text and dimension, `(R, n, k)`."""
        return torch.zeros_like(self.loc)

    def draw(self, noise: Tensor, *, priced: bool) -> tuple[Tensor, Tensor | None]:
        """Return `sample(noise)`, and where it is priced `kl` summed over dimensions `(R, n)`.

        Every step pays for it: a subclass may know a cheaper way.
        """
        return self.sample(noise), self.kl().sum(dim=-1) if priced else None


@dataclass(frozen=True, eq=False)
class GaussianLatent(Latent):
    """A latent N(μ, diag e^ℓ) with the prior N(0, I)."""

    log_variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Return μ + e^{ℓ/2} ε."""
        return torch.addcmul(self.loc, torch.exp(0.5 * self.log_variance), noise)

    def kl(self) -> Tensor:
        """Return ½(μ² + e^ℓ − 1 − ℓ)."""
        return 0.5 * (self.loc.square() + self.log_variance.exp() - 1 - self.log_variance)

    def draw(self, noise: Tensor, *, priced: bool) -> tuple[Tensor, Tensor | None]:
        """Return a draw and the KL with a third of the passes over the latents, there and back."""
        if not priced:
            return super().draw(noise, priced=False)
        drawn: tuple[Tensor, Tensor] = _GaussianDraw.apply(self.loc, self.log_variance, noise)  # type: ignore[no-untyped-call]
        return drawn


class _GaussianDraw(torch.autograd.Function):
    """z = μ + e^{ℓ/2} ε and ½ Σ(μ² + e^ℓ − 1 − ℓ), of μ, ℓ and ε `(R, n, k)`."""

    @staticmethod
    def forward(ctx: Any, loc: Tensor, log_variance: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        sd = torch.mul(log_variance, 0.5).exp_()
        ctx.save_for_backward(loc, sd, noise)
        squares = torch.linalg.vecdot(loc, loc).add_(torch.linalg.vecdot(sd, sd))
        kl = squares.sub_(log_variance.sum(dim=-1)).sub_(loc.shape[-1]).mul_(0.5)
        return torch.addcmul(loc, sd, noise), kl

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor, None]:
        (loc, sd, noise), (of_z, of_kl) = ctx.saved_tensors, gradients
        of_kl = of_kl.unsqueeze(-1)
        of_log_variance = torch.mul(of_z, noise).addcmul_(of_kl, sd).mul_(sd).sub_(of_kl).mul_(0.5)
        return torch.addcmul(of_z, of_kl, loc), of_log_variance, None
