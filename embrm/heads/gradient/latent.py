"""Latents of a batch of texts: what scoring reads, how a draw is made, and their divergence from the prior."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class Latent:
    """A latent `(R, n, k)` of a batch; subclasses are stochastic.

    Attributes:
        loc: what scoring reads.
    """

    stochastic: ClassVar[bool] = False
    loc: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Return a draw `(R, n, k)` made of standard normal noise of the shape that the head's `noise_shape` gave."""
        return self.loc

    def kl(self) -> Tensor:
        """Return the KL divergence from the prior, of each text and dimension, `(R, n, k)`."""
        return torch.zeros_like(self.loc)

    def total_kl(self) -> Tensor:
        """Return `kl` summed over dimensions, `(R, n)`; a subclass may know a cheaper way."""
        return self.kl().sum(dim=-1)


@dataclass(frozen=True, eq=False)
class GaussianLatent(Latent):
    """A latent N(μ, diag e^ℓ) with the prior N(0, I)."""

    stochastic: ClassVar[bool] = True
    log_variance: Tensor

    def sample(self, noise: Tensor) -> Tensor:
        """Return μ + e^{ℓ/2} ε."""
        return torch.addcmul(self.loc, torch.exp(0.5 * self.log_variance), noise)

    def kl(self) -> Tensor:
        """Return ½(μ² + e^ℓ − 1 − ℓ)."""
        return 0.5 * (self.loc.square() + self.log_variance.exp() - 1 - self.log_variance)

    def total_kl(self) -> Tensor:
        """Return the sum of `kl` over dimensions with half the passes over the latents: every step pays for it."""
        squares: Tensor = torch.linalg.vecdot(self.loc, self.loc)
        return 0.5 * (squares + (self.log_variance.exp() - self.log_variance).sum(dim=-1) - self.loc.shape[-1])
