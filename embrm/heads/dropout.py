"""Monte-Carlo dropout on the bottleneck."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor
from torch.nn import functional

from embrm.core.arrays import Array
from embrm.core.data import Problem
from embrm.core.registry import register
from embrm.core.results import Kind, State
from embrm.errors import OptionError
from embrm.heads._head import FittedHead
from embrm.heads.gradient.head import FittedNet, GradientHead
from embrm.heads.gradient.latent import Latent
from embrm.heads.gradient.layers import Init, Params, affine, dense, tensor


@dataclass(frozen=True, eq=False)
class Dropped(Latent):
    """A latent whose dimensions are dropped at random, the others scaled so that its mean stays."""

    rate: float

    def sample(self, noise: Tensor) -> Tensor:
        """Keep a dimension where its noise lies above the quantile of the rate."""
        return self.loc * (noise > float(ndtri(self.rate))) / (1 - self.rate)


@register
@dataclass(frozen=True, kw_only=True)
class Dropout(GradientHead):
    """Monte-Carlo dropout on the bottleneck: its passes are draws of an approximate posterior.

    Trained with dropout on a latent of k dimensions and scored with `passes` fixed masks, each the same for all texts,
    so that a draw is one function and the draws are joint (Gal & Ghahramani 1506.02142). The latent is the one before
    dropout.

    Attributes:
        rate: share of the latent's dimensions that a mask drops; larger spreads the draws.
        passes: masks of each member; `score` returns members × passes draws.
        latent_dim: k.
        hidden: width of the encoder's hidden layer.
    """

    rounds: ClassVar[bool] = True
    rate: float = 0.2
    passes: int = 50
    latent_dim: int = 32
    hidden: int = 128

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.rate < 1:
            raise OptionError(f"rate must be inside (0, 1), got {self.rate}; without dropout use 'mlp'")
        if min(self.passes, self.latent_dim, self.hidden) < 1:
            raise OptionError(
                f"passes, latent_dim and hidden must be >= 1, got {self.passes}, {self.latent_dim} and {self.hidden}"
            )

    def space(self) -> Mapping[str, Sequence[Any]]:
        """Return step sizes, shrinkages and rates."""
        return {**super().space(), "rate": (0.05, 0.2, 0.4)}

    def parameters(self, width: int) -> dict[str, Init]:
        """Return the layers' parameters."""
        k = self.latent_dim
        layers = dense("input", width, self.hidden) | dense("latent", self.hidden, k) | dense("decoder", k, k)
        return layers | dense("reward", k, 1, bias=False)

    def encode(self, params: Params, x: Tensor) -> Latent:
        """Return the latent before dropout."""
        return Dropped(affine(params, "latent", functional.gelu(affine(params, "input", x))), self.rate)

    def decode(self, params: Params, z: Tensor) -> Tensor:
        """Return the reward of a latent, dropped or not."""
        return affine(params, "reward", functional.gelu(affine(params, "decoder", z))).squeeze(-1)

    def noise_shape(self, texts: int) -> tuple[int, int]:
        """Return `(texts, k)`: every text draws a mask of its own in each step."""
        return (texts, self.latent_dim)

    def fit_many(self, problems: Sequence[Problem]) -> list[FittedHead]:
        """Fit the networks together, and draw each one's masks."""
        return [self._with_masks(net, problem) for net, problem in zip(self.train(problems), problems, strict=True)]

    def _with_masks(self, net: FittedNet, problem: Problem) -> FittedDropout:
        rng = np.random.default_rng([problem.seed, 1])
        kept = rng.random((self.members, self.passes, self.latent_dim)) >= self.rate
        masks = (kept / (1 - self.rate)).astype(np.float32)
        model = FittedDropout.upon(net, reference=np.zeros(self.members * self.passes), masks=masks)
        used = problem.pairs.features.take(problem.pairs.rows)
        return replace(model, reference=model.score(used).draws.mean(axis=1))

    def restore(self, state: State) -> FittedHead:
        """Rebuild a fitted model from its state."""
        masks = state.array("masks", self.members, self.passes, self.latent_dim)
        return FittedDropout.upon(self.restore_network(state), masks=masks)


@dataclass(frozen=True, eq=False)
class FittedDropout(FittedNet):
    """Fitted members with fixed masks.

    Attributes:
        masks: `(members, passes, k)`, 0 or 1 / (1 − rate).
    """

    masks: Array

    @property
    def kind(self) -> Kind:
        """Posterior draws."""
        return "posterior"

    @torch.no_grad()
    def _draws(self, x: Array) -> Array:
        params, masks = self._tensors(), tensor(self.masks)
        z = self._network.encode(params, tensor(x)).loc
        draws = [self._network.decode(params, z * masks[:, s, None]) for s in range(masks.shape[1])]
        return np.asarray(torch.stack(draws, dim=1).reshape(-1, len(x)).cpu().numpy())

    def _latent(self, x: Array, member: int) -> Array:
        return super()._latent(x, member // self.masks.shape[1])

    def arrays(self) -> dict[str, Array]:
        """Return the parameters and the masks."""
        return {**self.params, "masks": self.masks}
