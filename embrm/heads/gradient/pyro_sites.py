"""The latent of a batch as a site of a Pyro model and its guide.

The programs of the heads themselves (`Inform.model` and `guide`, those of `Bnrm`) have the same ELBO, which a test
holds to 1e-5. With them in the loop a fit of the bottleneck takes 10 to 24 % more CPU time
(`benchmarks/training.py`), so the loop has sites of its own: they take the noise that each replicate drew from a
generator of its own, and the KL by `Latent.total_kl`.
"""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints, register_kl

from embrm.heads.gradient.latent import Latent


class _Site(TorchDistribution):
    """A distribution over latents `(R, n, k)`, made with the shape of its plates.

    The mean-field ELBO takes the site's KL in closed form; the density that tracing asks for is not used.
    """

    arg_constraints: dict[str, Any] = {}  # noqa: RUF012 - torch's own declaration
    support = constraints.real_vector
    has_rsample = True

    def __init__(self, like: Tensor) -> None:
        super().__init__(like.shape[:-1], like.shape[-1:], validate_args=False)

    def expand(self, batch_shape: object, _instance: object = None) -> _Site:
        return self

    def log_prob(self, value: Tensor) -> Tensor:
        return torch.zeros((), device=value.device).expand(value.shape[:-1])


class LatentSite(_Site):
    """What the encoder says of a latent: it reads its noise, as `pyro.sample` would draw from the global generator."""

    def __init__(self, latent: Latent, noise: Tensor) -> None:
        self.latent, self.noise = latent, noise
        super().__init__(latent.loc)

    def rsample(self, sample_shape: object = None) -> Tensor:
        """Return a draw made of the given noise."""
        return self.latent.sample(self.noise)


class PriorSite(_Site):
    """The prior of a latent, which the latent's own `kl` knows; its site is always replayed from the guide."""


@register_kl(LatentSite, PriorSite)  # type: ignore[untyped-decorator]
def _kl(site: LatentSite, _: PriorSite) -> Tensor:
    return site.latent.total_kl()
