"""What a head is to the training loop: options of training, parameters, an encoder, a decoder, and hooks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from embrm.core.arrays import Array
from embrm.core.data import Pairs
from embrm.heads.gradient.latent import Latent
from embrm.heads.gradient.layers import Batch, Init, Params
from embrm.heads.gradient.training import Training


class Network(Training, ABC):
    """A network and how it is trained; the loop, and nothing that the loop is made of, knows more of a head.

    A network gives `parameters`, `encode` and `decode`; what else is here has a default.

    Attributes:
        rounds: whether `encode` reads the features through `affine(params, "input", x)` and in no other way, so that
            they may come in bfloat16 where that is faster.
        warm_up: epochs over which the price of the latent's nats rises to `kl_scale`, in equal steps; a head may have
            an option of that name. No parameters from before its end are kept.
    """

    rounds: ClassVar[bool] = False
    warm_up = 0

    @abstractmethod
    def parameters(self, width: int) -> dict[str, Init]:
        """Return one replicate's parameters; the layer that reads the features is named "input"."""

    @abstractmethod
    def encode(self, params: Params, x: Tensor) -> Latent:
        """Return the latent of features `(R, n, d)` or shared `(n, d)`."""

    @abstractmethod
    def decode(self, params: Params, z: Tensor) -> Tensor:
        """Return rewards `(R, n)` of latents `(R, n, k)`.

        No constant is added to a reward: no preference identifies it, its gradient is rounding noise, and Adam would
        scale that noise up to full steps.
        """

    def noise_shape(self, texts: int) -> tuple[int, int]:
        """Return the shape of the noise that a stochastic latent of so many texts reads."""
        return (0, 0)

    def kl_scale(self) -> float:
        """Return the weight of KL(q‖prior), summed over a pair's two texts, in a pair's loss; 0 turns it off."""
        return 0.0

    def pair_numbers(self, pairs: Pairs) -> Array:
        """Return further numbers `(c, n)` of the pairs, which arrive in the batches as `extra`."""
        return np.empty((0, len(pairs)))

    def preference(self, params: Params, z: Tensor, reward: Tensor, batch: Batch) -> Tensor:
        """Return the loss of each pair `(R, B)` from latents `(R, 2B, k)` and rewards, in training and validation."""
        return self.loss(reward, batch)

    def extra_loss(self, params: Params, latent: Latent, z: Tensor, batch: Batch) -> Tensor | None:
        """Return a further loss `(R,)` of a batch, in training alone, or None."""
        return None

    def report(self, latent: Latent) -> dict[str, Any]:
        """Return diagnostics of the fitted members on training texts, JSON-ready."""
        return {}

    def objective(self, params: Params, latent: Latent, z: Tensor, batch: Batch) -> Tensor:
        """Return the training loss `(R,)` of a batch without the KL of its latents."""
        reward = self.diversity.likely(self.decode(params, z), self.members)
        per_pair = self.preference(params, z, reward, batch)
        weight = batch.weight if self.reweight is None else self.reweight(batch.weight, per_pair)
        total: Tensor = torch.linalg.vecdot(weight, per_pair) / per_pair.shape[1]
        if self.centre and not self.loss.fixes_offset:
            chosen, rejected = reward.chunk(2, dim=-1)
            total = total + self.centre * (chosen + rejected).square().mean(dim=1)
        gain = self.diversity.gain(params, self.members)
        if gain is not None:
            total = total - gain
        extra = self.extra_loss(params, latent, z, batch)
        return total if extra is None else total + extra
