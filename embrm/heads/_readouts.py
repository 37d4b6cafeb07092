"""Stage 2 of the Bayesian reward-model ensemble: read-outs of mean and standard deviation, and their losses."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from embrm.core.arrays import Array
from embrm.core.data import Pairs
from embrm.core.recipe import Recipe, Variants
from embrm.errors import OptionError
from embrm.heads.gradient.head import GradientHead
from embrm.heads.gradient.latent import Latent
from embrm.heads.gradient.layers import Batch, Init, Params, affine, dense
from embrm.heads.gradient.losses import differences
from embrm.heads.mlp import Mlp

CAP = 5.0  # of a text's σ under marginal_bt, which identifies it poorly
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(32)
EXACT_UP_TO = CAP  # sd of a difference up to which 32 nodes are within 0.2 %; above it the probit form

stages: Variants[Stage2] = Variants("stage2")


@dataclass(frozen=True)
class Stage2(Recipe):
    """What the read-outs of a mean μ and a standard deviation σ are fitted to."""

    family = stages

    @abstractmethod
    def __call__(self, mu: Tensor, sigma: Tensor, batch: Batch) -> Tensor:
        """Return the loss of each pair `(R, B)` from μ and σ `(R, 2B)` of the chosen, then the rejected texts."""


@dataclass(frozen=True)
class OnRefits(Stage2):
    """A loss of each text against its rewards t under bootstrap refits of stage 1, in expectation over the refits.

    Attributes:
        refits: how many there are, at least 8.
    """

    refits: int = 16

    def __post_init__(self) -> None:
        if self.refits < 8:
            raise OptionError(f"refits must be >= 8 (σ is their spread), got {self.refits}")

    @abstractmethod
    def of_texts(self, error: Tensor, sigma: Tensor) -> Tensor:
        """Return the loss of each text from E(μ − t)² and σ, all `(R, 2B)`."""

    def __call__(self, mu: Tensor, sigma: Tensor, batch: Batch) -> Tensor:
        """Return the losses of both texts, summed; `batch.extra` holds the refits' means and variances."""
        chosen, rejected, chosen_variance, rejected_variance = batch.extra
        error = (mu - torch.cat([chosen, rejected], dim=-1)).square()
        error = error + torch.cat([chosen_variance, rejected_variance], dim=-1)
        of_chosen, of_rejected = self.of_texts(error, sigma).chunk(2, dim=-1)
        return of_chosen + of_rejected


@stages.offer("gaussian_nll")
@dataclass(frozen=True)
class GaussianNll(OnRefits):
    """−E log N(t; μ, σ²) without its constant: with one fixed target instead of the refits σ would go to 0."""

    def of_texts(self, error: Tensor, sigma: Tensor) -> Tensor:
        """Return E(μ − t)²/(2σ²) + log σ."""
        return 0.5 * error / sigma.square() + sigma.log()


@stages.offer("sampled_mse")
@dataclass(frozen=True)
class SampledMse(OnRefits):
    """The literal E(μ + σε − t)²: its σ collapses to the floor everywhere, a negative result that is kept as one."""

    def of_texts(self, error: Tensor, sigma: Tensor) -> Tensor:
        """Return E(μ − t)² + σ²."""
        return error + sigma.square()


@stages.offer("marginal_bt")
@dataclass(frozen=True)
class MarginalBt(Stage2):
    """−log E σ(Δμ + sε) with s² = σ_w² + σ_l², ε ~ N(0, 1).

    It identifies little more than Δμ/√(1 + πs²/8), so σ has a log-normal prior and a cap of 5.

    Attributes:
        prior: centre of the prior of σ, which is also where σ starts.
        weight: weight of the prior in the loss of a text.
    """

    prior: float = 0.5
    weight: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.prior < CAP or not self.weight >= 0:
            raise OptionError(f"prior must be inside (0, {CAP:g}) and weight >= 0, got {self.prior} and {self.weight}")

    def __call__(self, mu: Tensor, sigma: Tensor, batch: Batch) -> Tensor:
        """Return the loss of each label and the prior of both σ."""
        sigma = sigma.clamp_max(CAP)
        sigma_chosen, sigma_rejected = sigma.chunk(2, dim=-1)
        z, s = differences(mu, batch), (sigma_chosen.square() + sigma_rejected.square()).sqrt()
        nodes, weights = (torch.from_numpy(a).to(z) for a in (NODES, WEIGHTS / WEIGHTS.sum()))
        target = batch.target.unsqueeze(-1)
        at_nodes = z.unsqueeze(-1) + s.unsqueeze(-1) * nodes
        exact = -torch.logsumexp(target * at_nodes - functional.softplus(at_nodes) + weights.log(), dim=-1)
        flat = z / (1 + math.pi * s.square() / 8).sqrt()
        probit = functional.softplus(flat) - batch.target * flat
        prior = 0.5 * (sigma.log() - math.log(self.prior)).square()
        prior_chosen, prior_rejected = prior.chunk(2, dim=-1)
        return torch.where(s <= EXACT_UP_TO, exact, probit) + self.weight * (prior_chosen + prior_rejected)


@dataclass(frozen=True, kw_only=True)
class ReadOuts(GradientHead):
    """Read-outs of μ and the raw σ, on the output of a trunk that stays as it is: one affine layer.

    Attributes:
        stage2: what they are fitted to.
        sigma_floor: smallest σ.
    """

    stage2: Stage2
    sigma_floor: float

    def parameters(self, width: int) -> dict[str, Init]:
        """Return the layer."""
        return dense("input", width, 2)

    def encode(self, params: Params, x: Tensor) -> Latent:
        """Return μ and the raw σ, `(R, n, 2)`."""
        return Latent(affine(params, "input", x))

    def decode(self, params: Params, z: Tensor) -> Tensor:
        """Return μ."""
        return z[..., 0]

    def sigma(self, z: Tensor) -> Tensor:
        """Return σ `(R, n)` of what `encode` gave."""
        return self.sigma_floor + functional.softplus(z[..., 1])

    def pair_numbers(self, pairs: Pairs) -> Array:
        """Return the targets' mean of the chosen and the rejected texts, and their variances, `(4, n)`."""
        if not isinstance(self.stage2, OnRefits):
            return super().pair_numbers(pairs)
        target = pairs.features.matrix("target")
        return np.concatenate([target[rows].T for rows in (pairs.chosen, pairs.rejected)])[[0, 2, 1, 3]]

    def preference(self, params: Params, z: Tensor, reward: Tensor, batch: Batch) -> Tensor:
        """Return the loss of stage 2, of each pair `(R, B)`."""
        return self.stage2(reward, self.sigma(z), batch)


@dataclass(frozen=True, kw_only=True)
class TrunkAndReadOuts(ReadOuts):
    """Trunk and read-outs in one network: what scores, and what is trained where the trunk goes on learning.

    Attributes:
        trunk: the recipe of the trunk.
    """

    trunk: Mlp

    def parameters(self, width: int) -> dict[str, Init]:
        """Return the trunk's parameters and the read-outs."""
        trunk = {name: init for name, init in self.trunk.parameters(width).items() if name != "reward.weight"}
        return trunk | dense("head", self.trunk.hidden[-1], 2)

    def encode(self, params: Params, x: Tensor) -> Latent:
        """Return μ and the raw σ, `(R, n, 2)`; a trunk of one replicate serves all heads."""
        h = self.trunk.encode(params, x).loc
        return Latent(affine(params, "head", h[0] if len(h) == 1 else h))
