"""What a gradient head is to the training loop: parameters with a leading replicate axis, an encoder, a decoder.

All tensors are batched over replicates `R` (members of an ensemble, seeds, noise levels, bootstraps): features are
`(R, n, d)` or, when all replicates read the same rows, `(n, d)`; latents `(R, n, k)`; rewards `(R, n)`.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from embrm.errors import OptionError
from embrm.heads._head import FittedHead, Head
from embrm.outcomes import State
from embrm.types import Array, Problem

Params = Mapping[str, Tensor]


class Latent(NamedTuple):
    """A latent `(R, n, k)`: its location, and its log variance where the encoder is stochastic."""

    loc: Tensor
    log_variance: Tensor | None = None

    def kl(self) -> Tensor:
        """Return KL(N(μ, e^ℓ)‖N(0, 1)) = ½(μ² + e^ℓ − 1 − ℓ) of each text and dimension, `(R, n, k)`."""
        if self.log_variance is None:
            return torch.zeros_like(self.loc)
        return 0.5 * (self.loc.square() + self.log_variance.exp() - 1 - self.log_variance)


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


def affine(params: Params, name: str, x: Tensor) -> Tensor:
    """Apply one affine layer: `x (R, n, a)` or shared `(n, a)` → `(R, n, b)`."""
    weight, bias = params[f"{name}.weight"], params.get(f"{name}.bias")
    if x.dim() == 2:  # one product for all replicates
        replicates, fan_in, fan_out = weight.shape
        flat = x @ weight.permute(1, 0, 2).reshape(fan_in, replicates * fan_out)
        out = flat.view(len(x), replicates, fan_out).transpose(0, 1)
        return out if bias is None else out + bias[:, None, :]
    return torch.bmm(x, weight) if bias is None else torch.baddbmm(bias[:, None, :], x, weight)


@dataclass(frozen=True, kw_only=True)
class GradientHead(Head):
    """A head trained by gradient steps, all members and problems of one shape in one batch.

    Attributes:
        members: how many reward models to train; each has its own initialisation, order and noise.
        diversity: "seed" gives all members the same pairs, "bootstrap" each its own bootstrap over prompts.
        epochs: the most passes over the pairs.
        batch_size: pairs a step.
        learning_rate: peak step size of AdamW, annealed to zero over the epochs along a cosine.
        weight_decay: AdamW's decoupled shrinkage of the weights (biases are left alone).
        patience: epochs without a better validation loss before a member stops; the best epoch is kept. 0 trains all
            epochs and keeps the last.
        validation_fraction: share of the pairs, by prompt, held out for early stopping where no validation is given.
        loss: "bt" is Bradley–Terry on the difference of two rewards; "classify" tells winners from losers one by one.
        centre: weight of (r_w + r_l)², which fixes the free offset of a preference likelihood.
    """

    members: int = 1
    diversity: Literal["seed", "bootstrap"] = "seed"
    epochs: int = 20
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    patience: int = 3
    validation_fraction: float = 0.15
    loss: Literal["bt", "classify"] = "bt"
    centre: float = 0.01

    def __post_init__(self) -> None:
        for name in ("members", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be >= 1, got {getattr(self, name)}")
        for name in ("learning_rate", "weight_decay", "patience", "centre"):
            if getattr(self, name) < 0:
                raise OptionError(f"{name} must be >= 0, got {getattr(self, name)}")
        if not 0 < self.validation_fraction < 1:
            raise OptionError(f"validation_fraction must be inside (0, 1), got {self.validation_fraction}")
        for name, known in (("diversity", ("seed", "bootstrap")), ("loss", ("bt", "classify"))):
            if getattr(self, name) not in known:
                raise OptionError(f"{name} must be one of {', '.join(known)}, got '{getattr(self, name)}'")

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

    def noise_dim(self) -> int:
        """Return the width k of a stochastic encoder's noise; 0 where the latent is deterministic."""
        return 0

    def kl_scale(self) -> float:
        """Return the weight of KL(q‖N(0, I)), summed over a pair's two texts, in a pair's loss; 0 turns it off."""
        return 0.0

    def extra_loss(self, latent: Latent) -> Tensor | None:
        """Return a further loss `(R,)` of a batch's latents, or None."""

    def report(self, latent: Latent) -> dict[str, Any]:
        """Return diagnostics of the fitted members on training texts, JSON-ready."""
        return {}

    def fit_many(self, problems: Sequence[Problem]) -> list[FittedHead]:
        """Fit all problems; those that share features and a number of steps are trained as one batch."""
        from embrm.heads._svi import train

        return train(self, problems)

    def restore(self, state: State) -> FittedHead:
        """Rebuild a fitted model from its state."""
        arrays = dict(state.arrays)
        return FittedNet(
            head=self,
            width=state.config["width"],
            embedder=state.config["embedder"],
            reference=arrays.pop("reference"),
            record=state.config["record"],
            params=arrays,
        )


@dataclass(frozen=True, eq=False)
class FittedNet(FittedHead):
    """Fitted members of a gradient head.

    Attributes:
        params: name → `(members, ...)` float32; the scaling of the features is folded into the input layer.
    """

    params: dict[str, Array]

    @property
    def _recipe(self) -> GradientHead:
        assert isinstance(self.head, GradientHead)
        return self.head

    def _tensors(self, member: slice = slice(None)) -> dict[str, Tensor]:
        return {name: torch.from_numpy(array[member]) for name, array in self.params.items()}

    @torch.no_grad()
    def _draws(self, x: Array) -> Array:
        params = self._tensors()
        latent = self._recipe.encode(params, torch.from_numpy(x))
        return np.asarray(self._recipe.decode(params, latent.loc).numpy())

    @torch.no_grad()
    def _latent(self, x: Array, member: int) -> Array:
        latent = self._recipe.encode(self._tensors(slice(member, member + 1)), torch.from_numpy(x))
        return np.asarray(latent.loc[0].numpy())

    def arrays(self) -> dict[str, Array]:
        """Return the parameters of all members."""
        return self.params
