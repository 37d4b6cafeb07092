"""The loop's loss is the ELBO of plain Pyro programs, with the same draws of the latents."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceMeanField_ELBO
from scipy.integrate import quad_vec
from scipy.stats import weibull_min
from torch import Tensor
from torch.distributions import register_kl

from embrm import Pairs, Problem, heads
from embrm.core.arrays import Array
from embrm.heads._brme import Scale
from embrm.heads._readouts import ReadOuts
from embrm.heads.bnrm import Bnrm, Factors
from embrm.heads.brme import GaussianNll
from embrm.heads.gradient.block import Block, StepInputs
from embrm.heads.gradient.head import GradientHead
from embrm.heads.gradient.replicates import Prepared, Replicate
from embrm.heads.gradient.rows import Matrices
from embrm.heads.inform import Inform
from tests.planted import planted

REPLICATES, PAIRS = 3, 16


@register_kl(dist.Weibull, dist.Gamma)
def _by_quadrature(q: dist.Weibull, p: dist.Gamma) -> Tensor:
    """Return KL(q‖p) by numerical integration: torch knows no closed form."""
    shape, scale, concentration, rate = (
        a.expand(q.batch_shape).detach().double().numpy() for a in (q.concentration, q.scale, p.concentration, p.rate)
    )
    assert (concentration == 1).all()
    assert (rate == 1).all()

    def integrand(u: float) -> Array:  # over quantiles of q, so that nothing is cut off
        x = weibull_min.ppf(u, shape, scale=scale)
        return np.asarray(weibull_min.logpdf(x, shape, scale=scale) + x)

    return torch.from_numpy(quad_vec(integrand, 0, 1, epsabs=1e-9, norm="max")[0])


def with_numbers(pairs: Pairs) -> Pairs:
    rng = np.random.default_rng(7)
    n = len(pairs)
    return replace(pairs, weight=rng.uniform(0.2, 2, n), margin=rng.uniform(0, 1, n), tie=rng.random(n) < 0.3)


def one_step(head: GradientHead, problem: Problem) -> tuple[Block, StepInputs]:
    """Return a block of replicates and what its first step reads."""
    prepared = Prepared.of(head, problem, matrices=Matrices(torch.device("cpu")), flip=0.0, start=None)
    block = Block(head, [Replicate.of(head, prepared, k) for k in range(head.members)], steps=1, batch=PAIRS)
    step = next(block._epoch())
    return block, step


def elbo(model: Callable[..., None], guide: Callable[..., None], drawn: dict[str, Tensor], *read: Any) -> float:
    """Return the mean-field ELBO of two programs whose latents have the given values."""
    trace = poutine.trace(guide).get_trace(*read)
    for name, value in drawn.items():
        node: Any = trace.nodes[name]
        assert node["value"].shape == value.shape
        node["value"] = value
    return -float(TraceMeanField_ELBO().loss(model, poutine.replay(guide, trace=trace), *read))


@pytest.mark.parametrize("decoder", ["mlp", "gated", "linear"])
@pytest.mark.parametrize("kl", ["sum", "mean"])
def test_the_loss_of_the_bottleneck_is_the_elbo_of_its_programs(kl: str, decoder: str) -> None:
    pairs, _ = planted(pairs=PAIRS)
    head = heads.get("inform")(
        members=REPLICATES, beta=0.3, kl=kl, decoder=decoder, latent_dim=4, hidden=8, patience=0, batch_size=PAIRS
    )
    assert isinstance(head, Inform)
    block, step = one_step(head, Problem(with_numbers(pairs), 0))
    assert {0.5, 1.0} == set(step.batch.target.unique().tolist())
    latent = head.encode(block.params.values, step.x)
    read = (block.params.values, step.x, step.batch)
    own, other = (
        elbo(head.model, head.guide, {"z": latent.sample(noise)}, *read) for noise in (step.noise, -step.noise)
    )
    np.testing.assert_allclose(block.loss(step).item(), -own, rtol=1e-5)
    assert abs(other - own) > 1e-4 * abs(own)  # the draws matter


def test_the_loss_of_bnrm_is_the_elbo_of_its_programs() -> None:
    pairs, _ = planted(pairs=PAIRS)
    head = heads.get("bnrm")(members=REPLICATES, eta=0.2, factors=3, hidden=8, patience=0, batch_size=PAIRS)
    assert isinstance(head, Bnrm)
    block, step = one_step(head, Problem(with_numbers(pairs), 0))
    latent = head.encode(block.params.values, step.x)
    assert isinstance(latent, Factors)
    exponential = 0.5 * step.noise.square().unflatten(-1, (2, -1)).sum(dim=-2)
    theta = latent.theta.scale * exponential[:, :-1] ** (1 / latent.theta.shape)
    phi = latent.phi.scale * exponential[:, -1:] ** (1 / latent.phi.shape)
    expected = elbo(head.model, head.guide, {"theta": theta, "phi": phi}, block.params.values, step.x, step.batch)
    np.testing.assert_allclose(block.loss(step).item(), -expected, rtol=1e-5)


def test_the_second_stage_of_brme_is_the_likelihood_of_a_gaussian_program() -> None:
    """Target ~ N(μ, σ²) observed under every refit; the loop reads the refits' means and variances alone."""
    pairs, _ = planted(pairs=PAIRS)
    pairs = replace(with_numbers(pairs), tie=None)
    drawn = np.random.default_rng(1).normal(size=(9, len(pairs.features))) * 2 + 1
    scale = Scale.of(drawn)
    target = scale.targets(drawn)
    features = replace(pairs.features, views={**pairs.features.views, "target": target.astype(np.float32)})
    head = ReadOuts(
        members=REPLICATES, stage2=GaussianNll(), sigma_floor=1e-3, patience=0, batch_size=PAIRS, centre=0.0
    )
    problem = Problem(replace(pairs, features=features), 0)
    block, step = one_step(head, problem)
    standard = torch.from_numpy((drawn - scale.mean) / scale.sd * scale.sd.mean())
    texts = (torch.from_numpy(features.matrix("joint")) - block.mean[0]) * block.inverse[0]
    rows = (step.x.unsqueeze(-2) == texts).all(dim=-1).int().argmax(dim=-1)

    def model() -> None:
        z = head.encode(block.params.values, step.x).loc
        sizes = {"refit": len(standard), "replicate": REPLICATES, "text": 2 * PAIRS}
        refit, replicate, text = (pyro.plate(name, n, dim=i - 3) for i, (name, n) in enumerate(sizes.items()))
        weight = step.batch.weight.repeat(1, 2) / PAIRS / len(standard)
        with refit, replicate, text, poutine.scale(scale=weight):
            pyro.sample("target", dist.Normal(head.decode({}, z), head.sigma(z)), obs=standard[:, rows])

    constant = 0.5 * np.log(2 * np.pi) * 2 * step.batch.weight.mean(dim=1).sum().item()
    expected = TraceMeanField_ELBO().loss(model, lambda: None)
    np.testing.assert_allclose(block.loss(step).item(), expected - constant, rtol=1e-5)
