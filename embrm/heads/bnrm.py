"""The Bayesian non-negative reward model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional

from embrm.core.registry import register
from embrm.errors import OptionError
from embrm.heads.gradient.head import GradientHead
from embrm.heads.gradient.latent import Latent
from embrm.heads.gradient.layers import Batch, Init, Params, affine, dense

EULER = 0.5772156649015329
FLOOR = 1e-6  # of a Weibull's mean: at 0 the KL is infinite


@dataclass(frozen=True, eq=False)
class Weibull:
    """Weibull distributions by shape k and mean m, the scale λ being m / Γ(1 + 1/k)."""

    shape: Tensor
    mean: Tensor

    @cached_property
    def inverse(self) -> Tensor:
        """Return 1/k."""
        return 1 / self.shape

    @cached_property
    def log_gamma(self) -> Tensor:
        """Return log Γ(1 + 1/k), which costs more than all else here."""
        return torch.lgamma(1 + self.inverse)

    @property
    def scale(self) -> Tensor:
        """Return λ."""
        return self.mean * torch.exp(-self.log_gamma)

    def sample(self, log_exponential: Tensor) -> Tensor:
        """Return λ E^{1/k} of the logarithm of standard exponential draws E."""
        return self.mean * torch.exp(log_exponential * self.inverse - self.log_gamma)

    def kl(self) -> Tensor:
        """Return KL(Weibull(k, λ)‖Gamma(1, 1)) = γ/k − log λ + log k + λΓ(1 + 1/k) − γ − 1."""
        return EULER * self.inverse - (self.mean * self.inverse).log() + self.log_gamma + self.mean - (EULER + 1)


@dataclass(frozen=True, eq=False)
class Factors(Latent):
    """The products θ ∘ Φ of a text's factors and the weights that all texts share.

    Attributes:
        theta: `(R, n, k)`.
        phi: `(R, 1, k)`.
    """

    theta: Weibull
    phi: Weibull

    def sample(self, noise: Tensor) -> Tensor:
        """Return θ ∘ Φ; the last row of the noise is that of Φ, and half the squares of two normals an exponential."""
        log_exponential = noise.square().unflatten(-1, (2, -1)).sum(dim=-2).mul(0.5).log()
        return self.theta.sample(log_exponential[:, :-1]) * self.phi.sample(log_exponential[:, -1:])

    def kl(self) -> Tensor:
        """Return the KL of θ, and of Φ shared out over the two texts of a pair."""
        return self.theta.kl() + 0.5 * self.phi.kl()


@register
@dataclass(frozen=True, kw_only=True)
class Bnrm(GradientHead):
    """The Bayesian non-negative reward model: a sum of non-negative factors, each with a non-negative weight.

    r = θ·Φ with θ, Φ ~ Gamma(1, 1)^k a priori, and Weibull posteriors: θ's shape 1 + softplus and mean relu (floored at
    1e-6) are read from the text, Φ's are parameters of the head (the paper calls Φ global; that its posterior is free
    of the text is our reading). Loss: Bradley–Terry + η·(KL_θ of both texts + KL_Φ) (2602.10623). Scoring uses the
    means. The latent is E θ ∘ E Φ, each factor's part in the reward. `model` and `guide` are the same as programs of
    Pyro.

    Attributes:
        factors: k; 1024 in the paper, fewer here, as the gamma functions cost more than the products.
        eta: η, the price of a nat (released value); larger prunes factors.
        hidden: width of the hidden layer.
    """

    rounds: ClassVar[bool] = True
    factors: int = 32
    eta: float = 1e-5
    hidden: int = 128
    centre: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.factors, self.hidden) < 1 or self.eta < 0:
            raise OptionError(
                f"factors and hidden must be >= 1 and eta >= 0, got {self.factors}, {self.hidden} and {self.eta}"
            )

    def space(self) -> Mapping[str, Sequence[Any]]:
        """Return step sizes, shrinkages and prices of a nat."""
        return {**super().space(), "eta": (1e-6, 1e-5, 1e-3)}

    def parameters(self, width: int) -> dict[str, Init]:
        """Return the parameters; θ's shape and mean are the two halves of one layer, as are Φ's."""
        layers = dense("input", width, self.hidden) | dense("theta", self.hidden, 2 * self.factors)
        return layers | {"phi.bias": Init((2 * self.factors,), 1.0)}

    def encode(self, params: Params, x: Tensor) -> Factors:
        """Return the posterior of the factors and their weights."""
        raw_shape, raw_mean = affine(params, "theta", functional.gelu(affine(params, "input", x))).chunk(2, dim=-1)
        weight_shape, weight_mean = params["phi.bias"][:, None].chunk(2, dim=-1)
        # Φ is one vector: softplus keeps all its gradients alive, where relu would leave half of it dead at the start.
        phi = Weibull(1 + functional.softplus(weight_shape), functional.softplus(weight_mean) + FLOOR)
        theta = Weibull(1 + functional.softplus(raw_shape), raw_mean.clamp_min(FLOOR))
        return Factors(theta.mean * phi.mean, theta, phi)

    def decode(self, params: Params, z: Tensor) -> Tensor:
        """Return the sum of the parts."""
        return z.sum(dim=-1)

    def noise_shape(self, texts: int) -> tuple[int, int]:
        """Return `(texts + 1, 2 k)`: two normals for every factor of every text, and of Φ."""
        return (texts + 1, 2 * self.factors)

    def kl_scale(self) -> float:
        """Return η."""
        return self.eta

    def model(self, params: Params, x: Tensor, batch: Batch) -> None:
        """The factors, their weights and the labels, as a program of Pyro: θ, Φ ~ Gamma(1, 1), preferred ~ Bernoulli.

        The ELBO of this model and `guide` is minus the training loss of a batch, as for `Inform.model`.

        Args:
            params: of the replicates.
            x: `(R, 2B, d)` features of the chosen texts, then of the rejected ones.
            batch: numbers of the B pairs.
        """
        import pyro  # here, as no fit needs it and it takes a second to load
        import pyro.distributions as dist
        from pyro import poutine

        replicates, texts = len(params["phi.bias"]), x.shape[-2]
        one = x.new_ones(self.factors)
        with pyro.plate("replicate", replicates, dim=-2):
            with poutine.scale(scale=self.eta):
                phi = pyro.sample("phi", dist.Gamma(one, one).expand([replicates, 1, self.factors]).to_event(1))
            with pyro.plate("text", texts, dim=-1), poutine.scale(scale=2 * self.eta / texts):
                theta = pyro.sample("theta", dist.Gamma(one, one).to_event(1))
            chosen, rejected = self.decode(params, theta * phi).chunk(2, dim=-1)
            with pyro.plate("pair", texts // 2, dim=-1), poutine.scale(scale=2 * batch.weight / texts):
                # Validation would refuse a tie, which is half a win.
                label = dist.Bernoulli(logits=chosen - rejected - batch.margin, validate_args=False)
                pyro.sample("preferred", label, obs=batch.target.expand_as(chosen))

    def guide(self, params: Params, x: Tensor, batch: Batch) -> None:
        """The Weibull posteriors as a program of Pyro; see `model`."""
        import pyro
        import pyro.distributions as dist
        from pyro import poutine

        latent = self.encode(params, x)
        with pyro.plate("replicate", len(latent.loc), dim=-2):
            with poutine.scale(scale=self.eta):
                pyro.sample("phi", dist.Weibull(latent.phi.scale, latent.phi.shape).to_event(1))
            with pyro.plate("text", x.shape[-2], dim=-1), poutine.scale(scale=2 * self.eta / x.shape[-2]):
                pyro.sample("theta", dist.Weibull(latent.theta.scale, latent.theta.shape).to_event(1))

    def report(self, latent: Latent) -> dict[str, Any]:
        """Return the mean share of a text's factors that are off, and how many factors make up 90 % of the reward."""
        assert isinstance(latent, Factors)
        top = latent.loc.mean(dim=1).sort(dim=-1, descending=True).values.cumsum(dim=-1)
        needed = (top < 0.9 * top[:, -1:]).sum(dim=-1) + 1
        silent = (latent.theta.mean <= FLOOR).float().mean(dim=(1, 2))
        return {"silent_factors": silent.tolist(), "factors_of_90_percent": needed.tolist()}
