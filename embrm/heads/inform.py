"""The information bottleneck of InfoRM."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor
from torch.nn import functional

from embrm.core.registry import register
from embrm.errors import OptionError
from embrm.heads.gradient.head import GradientHead
from embrm.heads.gradient.latent import GaussianLatent, Latent
from embrm.heads.gradient.layers import Batch, Init, Params, affine, dense

LOG_VARIANCE = (-10.0, 5.0)


@register
@dataclass(frozen=True, kw_only=True)
class Inform(GradientHead):
    """The variational information bottleneck of InfoRM: the reward is read from a compressed, noisy latent.

    Encoder q(z|e) = N(μ(e), diag exp ℓ(e)), prior N(0, I), decoder r = f(z). Minimises
    −log σ(f(z_w) − f(z_l)) + β·(KL_w + KL_l), a β-scaled negative ELBO; scoring uses z = μ (Miao et al. 2402.09345,
    Eq. 5 and following). The latent is μ. `model` and `guide` are the same as programs of Pyro.

    Attributes:
        latent_dim: k, dimensions of z.
        beta: β, the price of a nat in the latent; larger forgets more of the text. Its scale depends on `kl`.
        kl: "sum" is the KL of the paper, summed over dimensions; "mean" divides it by k; "released" is what the
            authors' code computes: μ and ℓ averaged over dimensions first, one KL of the averages, averaged over texts.
        hidden: width of the encoder's hidden layer; 0 makes the encoder linear (with a linear decoder the score is
            then linear in the embedding: an ablation, not the method).
        decoder: "mlp" is k → k → 1, "gated" is down(silu(gate z) ∘ up z) of width 4k, "linear" is wᵀz.
        warm_up: epochs over which β rises from 0 (KL annealing; Bowman et al. 1511.06349), of which none is kept; 0 is
            off. A large β can otherwise close the latent before it has learnt anything.
    """

    rounds: ClassVar[bool] = True
    by_steps: ClassVar[bool] = True
    latent_dim: int = 32
    beta: float = 3e-3
    kl: Literal["sum", "mean", "released"] = "sum"
    hidden: int = 128
    decoder: Literal["mlp", "gated", "linear"] = "mlp"
    centre: float = 0.0
    warm_up: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.latent_dim < 1 or self.hidden < 0 or self.beta < 0:
            raise OptionError(
                f"latent_dim must be >= 1, hidden >= 0 and beta >= 0, got {self.latent_dim}, {self.hidden}, {self.beta}"
            )
        if not 0 <= self.warm_up < self.epochs or (self.warm_up and self.kl == "released"):
            raise OptionError(
                f"warm_up must be >= 0 and below the {self.epochs} epochs, and 0 for kl 'released', got {self.warm_up}"
            )
        for name, known in (("kl", ("sum", "mean", "released")), ("decoder", ("mlp", "gated", "linear"))):
            if getattr(self, name) not in known:
                raise OptionError(f"{name} must be one of {', '.join(known)}, got '{getattr(self, name)}'")

    def space(self) -> Mapping[str, Sequence[Any]]:
        """Return step sizes, shrinkages and prices of a nat."""
        return {**super().space(), "beta": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1)}

    def parameters(self, width: int) -> dict[str, Init]:
        """Return the parameters; the weights of ℓ start at zero, so every text starts with the same noise."""
        k = self.latent_dim
        if self.hidden:
            out = dense("input", width, self.hidden) | dense("latent", self.hidden, 2 * k, zeros=k)
        else:
            out = dense("input", width, 2 * k, zeros=k)
        if self.decoder == "mlp":
            out |= dense("decoder", k, k)
        elif self.decoder == "gated":
            out |= dense("gate", k, 4 * k) | dense("up", k, 4 * k)
        return out | dense("reward", 4 * k if self.decoder == "gated" else k, 1, bias=False)

    def encode(self, params: Params, x: Tensor) -> Latent:
        """Return μ and ℓ, ℓ clamped to [−10, 5]."""
        h = affine(params, "input", x)
        if self.hidden:
            h = affine(params, "latent", functional.gelu(h))
        loc, log_variance = h.chunk(2, dim=-1)
        return GaussianLatent(loc, functional.hardtanh(log_variance, *LOG_VARIANCE))

    def decode(self, params: Params, z: Tensor) -> Tensor:
        """Return f(z)."""
        if self.decoder == "mlp":
            z = functional.gelu(affine(params, "decoder", z))
        elif self.decoder == "gated":
            z = functional.silu(affine(params, "gate", z)) * affine(params, "up", z)
        return affine(params, "reward", z).squeeze(-1)

    def noise_shape(self, texts: int) -> tuple[int, int]:
        """Return `(texts, k)`: every text draws fresh noise in each step."""
        return (texts, self.latent_dim)

    def kl_scale(self) -> float:
        """Return β, β/k, or 0 where the released form replaces the KL."""
        return {"sum": self.beta, "mean": self.beta / self.latent_dim, "released": 0.0}[self.kl]

    def extra_loss(self, params: Params, latent: Latent, z: Tensor, batch: Batch) -> Tensor | None:
        """Return β × the released form of the KL, or None."""
        if self.kl != "released":
            return None
        assert isinstance(latent, GaussianLatent)
        averages = GaussianLatent(latent.loc.mean(dim=-1, keepdim=True), latent.log_variance.mean(dim=-1, keepdim=True))
        return self.beta * averages.kl().mean(dim=(1, 2))

    def model(self, params: Params, x: Tensor, batch: Batch) -> None:
        """Latents and labels as a program of Pyro: z ~ N(0, I), preferred ~ Bernoulli(σ(f(z_w) − f(z_l))).

        The ELBO of this model and `guide` is minus the training loss of a batch, summed over the replicates, where
        `loss` is "bt", `kl` no "released" and nothing is added to it (`centre` 0, no `reweight`). A tie is half a win.

        Args:
            params: of the replicates.
            x: `(R, 2B, d)` features of the chosen texts, then of the rejected ones.
            batch: numbers of the B pairs.
        """
        import pyro  # here, as no fit needs it and it takes a second to load
        from pyro import poutine
        from pyro.distributions import Bernoulli, Normal

        replicates, texts = len(params["reward.weight"]), x.shape[-2]
        with pyro.plate("replicate", replicates, dim=-2):
            with pyro.plate("text", texts, dim=-1), poutine.scale(scale=2 * self.kl_scale() / texts):
                z = pyro.sample("z", Normal(x.new_zeros(self.latent_dim), 1.0).to_event(1))
            chosen, rejected = self.decode(params, z).chunk(2, dim=-1)
            with pyro.plate("pair", texts // 2, dim=-1), poutine.scale(scale=2 * batch.weight / texts):
                # Validation would refuse a tie.
                label = Bernoulli(logits=chosen - rejected - batch.margin, validate_args=False)
                pyro.sample("preferred", label, obs=batch.target.expand_as(chosen))

    def guide(self, params: Params, x: Tensor, batch: Batch) -> None:
        """The encoder as a program of Pyro: z ~ N(μ(e), diag exp ℓ(e)); see `model`."""
        import pyro
        from pyro import poutine
        from pyro.distributions import Normal

        latent, texts = self.encode(params, x), x.shape[-2]
        assert isinstance(latent, GaussianLatent)
        replicate, text = pyro.plate("replicate", len(latent.loc), dim=-2), pyro.plate("text", texts, dim=-1)
        with replicate, text, poutine.scale(scale=2 * self.kl_scale() / texts):
            pyro.sample("z", Normal(latent.loc, torch.exp(0.5 * latent.log_variance)).to_event(1))

    def report(self, latent: Latent) -> dict[str, Any]:
        """Return the nats that the latent carries and its active units (KL_k > 0.01), a number a member."""
        kl = latent.kl().mean(dim=1)
        return {"kl_nats": kl.sum(dim=-1).tolist(), "active_units": (kl > 0.01).sum(dim=-1).tolist()}
