"""What a head is to the training loop: parameters with a leading replicate axis, an encoder, a decoder.

All tensors are batched over replicates `R` (members of an ensemble, seeds, noise levels, bootstraps): features are
`(R, n, d)` or, when all replicates read the same rows, `(n, d)`; latents `(R, n, k)`; rewards `(R, n)`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from embrm.core.arrays import Array
from embrm.core.data import Pairs
from embrm.core.device import torch_device
from embrm.heads.gradient.latent import Latent

Params = Mapping[str, Tensor]


class Init(NamedTuple):
    """Shape of one replicate's parameter, the bound of its uniform start, and how many last columns start at zero."""

    shape: tuple[int, ...]
    bound: float
    zeros: int = 0


def dense(name: str, fan_in: int, fan_out: int, *, bias: bool = True, zeros: int = 0) -> dict[str, Init]:
    """Return the parameters of one affine layer, initialised as torch's Linear but for `zeros` last outputs."""
    bound = 1 / math.sqrt(fan_in)
    out = {f"{name}.weight": Init((fan_in, fan_out), bound, zeros)}
    return out | {f"{name}.bias": Init((fan_out,), bound, zeros)} if bias else out


def tensor(x: Array) -> Tensor:
    """Return numbers as a tensor on the device in use."""
    return torch.from_numpy(x).to(torch_device())


def affine(params: Params, name: str, x: Tensor) -> Tensor:
    """Apply one affine layer: `x (R, n, a)` or shared `(n, a)` → `(R, n, b)`."""
    weight, bias = params[f"{name}.weight"], params.get(f"{name}.bias")
    if x.dim() == 2:  # one product for all replicates
        replicates, fan_in, fan_out = weight.shape
        flat = x @ weight.permute(1, 0, 2).reshape(fan_in, replicates * fan_out)
        out = flat.view(len(x), replicates, fan_out).transpose(0, 1)
        return out if bias is None else out + bias[:, None, :]
    return torch.bmm(x, weight) if bias is None else torch.baddbmm(bias[:, None, :], x, weight)


class Batch(NamedTuple):
    """Numbers of the pairs of a step.

    Attributes:
        weight, target, margin: `(R, B)` or shared `(B,)`; the target is 1, or 0.5 for a tie.
        extra: `(c, R, B)` or `(c, B)` what the head's `pair_numbers` gave.
        flip: `(R, 1)` share of the labels that are taken to be flipped.
    """

    weight: Tensor
    target: Tensor
    margin: Tensor
    extra: Tensor
    flip: Tensor


class Network(Protocol):
    """A recipe as the training loop sees it; `embrm.heads.gradient.head.GradientHead` says what each option does."""

    @property
    def view(self) -> str:
        """Which view of the features is read."""

    @property
    def members(self) -> int:
        """Networks of one problem."""

    @property
    def diversity(self) -> str:
        """What the members differ in."""

    @property
    def epochs(self) -> int:
        """The most passes over the pairs."""

    @property
    def batch_size(self) -> int:
        """Pairs a step."""

    @property
    def learning_rate(self) -> float:
        """Peak step size."""

    @property
    def weight_decay(self) -> float:
        """Decoupled shrinkage of the weights."""

    @property
    def patience(self) -> int:
        """Epochs without a better validation loss."""

    @property
    def validation_fraction(self) -> float:
        """Share of the pairs held out."""

    @property
    def loss(self) -> str:
        """What a pair costs."""

    @property
    def clip(self) -> float:
        """Bound of margins or rewards."""

    @property
    def extra_margin(self) -> float:
        """One more margin for all pairs."""

    @property
    def centre(self) -> float:
        """Weight of (r_w + r_l)²."""

    @property
    def reweight(self) -> str:
        """How a batch's pairs are weighed."""

    @property
    def temperature(self) -> float:
        """Of the instance weights."""

    @property
    def augment(self) -> str:
        """Which pairs are added."""

    @property
    def rank_bonus(self) -> float:
        """Pay for the rank of the stacked input layers."""

    @property
    def pessimism(self) -> float:
        """Price of the best of n on pools."""

    @property
    def pool_draws(self) -> int:
        """That n."""

    def parameters(self, width: int) -> dict[str, Init]:
        """Return one replicate's parameters; the layer that reads the features is named "input"."""

    def encode(self, params: Params, x: Tensor) -> Latent:
        """Return the latent of features `(R, n, d)` or shared `(n, d)`."""

    def decode(self, params: Params, z: Tensor) -> Tensor:
        """Return rewards `(R, n)` of latents `(R, n, k)`."""

    def noise_shape(self, texts: int) -> tuple[int, int]:
        """Return the shape of the noise that a stochastic latent of so many texts reads."""

    def kl_scale(self) -> float:
        """Return the weight of KL(q‖prior), summed over a pair's two texts, in a pair's loss; 0 turns it off."""

    def pair_numbers(self, pairs: Pairs) -> Array:
        """Return further numbers `(c, n)` of the pairs, which arrive in the batches as `extra`."""

    def preference(self, params: Params, z: Tensor, reward: Tensor, batch: Batch) -> Tensor:
        """Return the loss of each pair `(R, B)` from latents `(R, 2B, k)` and rewards, in training and validation."""

    def report(self, latent: Latent) -> dict[str, Any]:
        """Return diagnostics of the fitted members on training texts, JSON-ready."""

    def extra_loss(self, params: Params, latent: Latent, z: Tensor, batch: Batch) -> Tensor | None:
        """Return a further loss `(R,)` of a batch, in training alone, or None."""
