"""The heads against other implementations and against mathematics."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.integrate import quad
from scipy.optimize import minimize
from scipy.special import expit, log_expit
from scipy.stats import norm
from sklearn.linear_model import LogisticRegression

from embrm import Pairs, heads
from embrm.core.data import Problem
from embrm.heads._brme import Scale
from embrm.heads.bnrm import Weibull
from embrm.heads.brme import GaussianNll, MarginalBt
from embrm.heads.gradient.latent import GaussianLatent
from embrm.heads.gradient.layers import Batch
from embrm.heads.gradient.losses import (
    BradleyTerry,
    Classify,
    Loss,
    Margin,
    Rdpo,
    Smoothed,
    Symmetric,
    Unhinged,
    losses,
)
from tests.planted import planted


def batch(n: int, seed: int = 0, *, flip: float = 0.0) -> Batch:
    rng = np.random.default_rng(seed)
    target = np.where(rng.random(n) < 0.3, 0.5, 1.0)
    weight, margin = rng.uniform(0.5, 2, n), np.where(target == 1, rng.normal(size=n), 0.0)
    rate = torch.full((1, 1), flip, dtype=torch.float64)
    one, two, three = map(torch.from_numpy, (weight, target, margin))
    return Batch(one, two, three, torch.empty(0, n), rate)


def with_numbers(pairs: Pairs) -> Pairs:
    rng = np.random.default_rng(7)
    n = len(pairs)
    return replace(pairs, weight=rng.uniform(0.2, 2, n), margin=rng.uniform(0, 1, n), tie=rng.random(n) < 0.2)


def test_linear_is_logistic_regression_on_symmetrised_differences() -> None:
    pairs, _ = planted(pairs=300)
    weight = np.random.default_rng(0).uniform(0.2, 2, 300)
    model = heads.get("linear")(prior_precision=3.0).fit(replace(pairs, weight=weight), seed=0)
    x = pairs.features.matrix("joint").astype(np.float64)
    used = np.unique([pairs.chosen, pairs.rejected])
    scale = x[used].std(axis=0)
    d = (x[pairs.chosen] - x[pairs.rejected]) / scale
    other = LogisticRegression(C=1 / 3.0, fit_intercept=False, tol=1e-10, max_iter=10_000)
    w = weight / weight.mean() / 2  # every pair stands there twice
    other.fit(np.concatenate([d, -d]), np.repeat([1, 0], 300), sample_weight=np.concatenate([w, w]))
    np.testing.assert_allclose(model.score(x).draws[0], x @ (other.coef_[0] / scale), rtol=1e-4, atol=1e-4)


def test_linear_with_ties_margins_and_weights_is_the_optimum_found_by_finite_differences() -> None:
    pairs, _ = planted(pairs=120, width=3, prompts=10)
    pairs = with_numbers(pairs)
    model = heads.get("linear")(prior_precision=2.0).fit(pairs, seed=0)
    x = pairs.features.matrix("joint").astype(np.float64)
    scale = x[np.unique([pairs.chosen, pairs.rejected])].std(axis=0)
    assert pairs.weight is not None
    assert pairs.margin is not None
    assert pairs.tie is not None
    w, target = pairs.weight / pairs.weight.mean(), np.where(pairs.tie, 0.5, 1.0)
    margin = np.where(pairs.tie, 0.0, pairs.margin)
    d = (x[pairs.chosen] - x[pairs.rejected]) / scale

    def objective(theta: np.ndarray) -> float:
        z = d @ theta - margin
        return float(-w @ (target * log_expit(z) + (1 - target) * log_expit(-z)) + theta @ theta)

    best = minimize(objective, np.zeros(3), method="BFGS", options={"gtol": 1e-7})
    np.testing.assert_allclose(model.score(x).draws[0], x @ (best.x / scale), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(
    "loss",
    [BradleyTerry(), Smoothed(), Rdpo(clip=1.5), Symmetric(), Unhinged(clip=1.5), Margin(margin=0.7), Classify()],
    ids=lambda loss: losses.name_of(loss),
)
def test_losses_are_their_formulas(loss: Loss) -> None:
    name = losses.name_of(loss)
    numbers, e = batch(40, flip=0.2), 0.2
    reward = torch.from_numpy(2 * np.random.default_rng(1).normal(size=(3, 80)))
    w, l = reward.numpy()[:, :40], reward.numpy()[:, 40:]  # noqa: E741
    t, m = numbers.target.numpy(), numbers.margin.numpy()
    if name == "unhinged":
        w, l = np.clip(w, -1.5, 1.5), np.clip(l, -1.5, 1.5)  # noqa: E741
    z = w - l - m

    def one_label(z: np.ndarray) -> Any:
        return {
            "bt": -log_expit(z),
            "smoothed": -(1 - e) * log_expit(z) - e * log_expit(-z),
            "rdpo": (-(1 - e) * log_expit(np.clip(z, -1.5, 1.5)) + e * log_expit(-np.clip(z, -1.5, 1.5))) / (1 - 2 * e),
            "symmetric": expit(-z),
            "unhinged": 1 - z,
            "margin": -log_expit(z - 0.7),
        }[name]

    if name == "classify":
        expected = -t * (log_expit(w) + log_expit(-l)) - (1 - t) * (log_expit(-w) + log_expit(l))
    elif name == "margin":  # a tie asks for no margin
        expected = np.where(t == 1, one_label(z), -0.5 * (log_expit(z) + log_expit(-z)))
    else:
        expected = t * one_label(z) + (1 - t) * one_label(-z)
    np.testing.assert_allclose(loss(reward, numbers).numpy(), expected, rtol=1e-6, atol=1e-9)


def test_rdpo_on_flipped_labels_is_unbiased_for_bradley_terry() -> None:
    """Averaged over labels that are flipped at its rate, its loss is that of the clean label (up to nothing)."""
    loss, e = Rdpo(), 0.3
    z = torch.linspace(-4, 4, 9, dtype=torch.float64)[None]
    right, wrong = torch.cat([z, 0 * z], dim=1), torch.cat([0 * z, z], dim=1)
    ones = torch.ones(9, dtype=torch.float64)
    numbers = Batch(ones, ones, 0 * ones, torch.empty(0, 9), torch.full((1, 1), e, dtype=torch.float64))
    mean = (1 - e) * loss(right, numbers) + e * loss(wrong, numbers)
    np.testing.assert_allclose(mean.numpy(), -log_expit(z.numpy()), rtol=1e-6)


def test_the_loss_of_mlp_is_that_of_a_plain_network() -> None:
    """One full-batch step: torch's own layers, gradient and AdamW give the parameters that the loop gives."""
    pairs, _ = planted(pairs=64, width=5)
    pairs = with_numbers(pairs)
    options = {"hidden": (7, 4), "batch_size": 64, "patience": 0, "centre": 0.05, "learning_rate": 1e-2}
    recipe: Any = heads.get("mlp")(**options, epochs=1)
    start = recipe.train([Problem(pairs, 0)])[0]
    one = recipe.train([Problem(pairs, 0)], start=[start.params])[0]

    x = pairs.features.matrix("joint")
    used = x[np.unique([pairs.chosen, pairs.rejected])].astype(np.float64)
    mean, scale = torch.from_numpy(used.mean(axis=0)), torch.from_numpy(used.std(axis=0))
    first, second, last = torch.nn.Linear(5, 7), torch.nn.Linear(7, 4), torch.nn.Linear(4, 1, bias=False)
    net = torch.nn.Sequential(first, torch.nn.GELU(), second, torch.nn.GELU(), last).double()
    p = {name: torch.from_numpy(a[0]).double() for name, a in start.params.items()}
    with torch.no_grad():
        first.weight.copy_((p["input.weight"] * scale[:, None]).T)  # the loop trains in units of scaled features
        first.bias.copy_(p["input.bias"] + mean @ p["input.weight"])
        second.weight.copy_(p["hidden1.weight"].T)
        second.bias.copy_(p["hidden1.bias"])
        last.weight.copy_(p["reward.weight"].T)
    scaled = (torch.from_numpy(x).double() - mean) / scale
    chosen, rejected = (net(scaled[torch.from_numpy(i)]).squeeze(1) for i in (pairs.chosen, pairs.rejected))
    assert pairs.weight is not None
    assert pairs.margin is not None
    assert pairs.tie is not None
    tie = torch.from_numpy(pairs.tie)
    z = chosen - rejected - torch.where(tie, 0.0, torch.from_numpy(pairs.margin))
    log_sigma = torch.nn.functional.logsigmoid
    loss = torch.where(tie, -0.5 * (log_sigma(z) + log_sigma(-z)), -log_sigma(z))
    total = (torch.from_numpy(pairs.weight / pairs.weight.mean()) * loss).mean() + 0.05 * (
        chosen + rejected
    ).square().mean()
    total.backward()
    groups: list[dict[str, Any]] = [
        {"params": [first.weight, second.weight, last.weight]},
        {"params": [first.bias, second.bias], "weight_decay": 0.0},
    ]
    torch.optim.AdamW(groups, lr=1e-2, weight_decay=0.01).step()
    expected = net(scaled).detach().numpy().squeeze(1)
    np.testing.assert_allclose(one.score(pairs.features).draws[0], expected, rtol=1e-3, atol=1e-4)


def test_inform_kl_against_monte_carlo_in_all_three_forms() -> None:
    rng = np.random.default_rng(0)
    loc, log_variance = rng.normal(size=(1, 6, 4)), rng.normal(-1, 0.7, size=(1, 6, 4))
    latent = GaussianLatent(torch.from_numpy(loc), torch.from_numpy(log_variance))

    def monte_carlo(mu: np.ndarray, ell: np.ndarray) -> np.ndarray:
        draws = mu + np.exp(ell / 2) * rng.normal(size=(200_000, *mu.shape))
        return np.asarray((norm.logpdf(draws, mu, np.exp(ell / 2)) - norm.logpdf(draws)).mean(axis=0))

    each = monte_carlo(loc, log_variance)
    np.testing.assert_allclose(latent.kl().numpy(), each, atol=0.02)
    forms: dict[str, Any] = {
        kind: heads.get("inform")(latent_dim=4, beta=0.3, kl=kind) for kind in ("sum", "mean", "released")
    }
    # A pair's loss has the scale times the KL of its two texts, summed over dimensions; three pairs here.
    per_pair = latent.kl().sum().item() / 3
    np.testing.assert_allclose(forms["sum"].kl_scale() * per_pair, 0.3 * each.sum() / 3, rtol=0.02)
    np.testing.assert_allclose(forms["mean"].kl_scale() * per_pair, 0.3 * each.sum() / 4 / 3, rtol=0.02)
    assert forms["released"].kl_scale() == 0
    averaged = monte_carlo(loc.mean(axis=-1), log_variance.mean(axis=-1)).mean()
    extra = forms["released"].extra_loss({}, latent, latent.loc, batch(3))
    np.testing.assert_allclose(extra.numpy(), [0.3 * averaged], rtol=0.02)


def test_the_price_of_a_nat_acts_in_the_loop() -> None:
    """With a large β the latent carries nothing, with a small one it does."""
    pairs, _ = planted(pairs=300)
    recipes = (heads.get("inform")(beta=beta, epochs=60, patience=0) for beta in (1e-4, 1.0))
    nats = [recipe.fit(pairs, seed=0).record["kl_nats"][0] for recipe in recipes]
    assert nats[1] < 0.05 < nats[0]


def test_bnrm_kl_and_draws_against_monte_carlo() -> None:
    rng = np.random.default_rng(0)
    shape, mean = np.array([1.2, 2.0, 4.0]), np.array([0.3, 1.0, 2.5])
    weibull = Weibull(torch.from_numpy(shape), torch.from_numpy(mean))
    from scipy.special import gamma

    scale = mean / gamma(1 + 1 / shape)
    draws = scale * rng.weibull(shape, size=(400_000, 3))
    log_weibull = np.log(shape / scale) + (shape - 1) * np.log(draws / scale) - (draws / scale) ** shape
    np.testing.assert_allclose(weibull.kl().numpy(), (log_weibull + draws).mean(axis=0), atol=0.01)
    own = weibull.sample(torch.from_numpy(np.log(rng.exponential(size=(400_000, 3))))).numpy()
    for level in (0.1, 0.5, 0.9):
        np.testing.assert_allclose(np.quantile(own, level, axis=0), np.quantile(draws, level, axis=0), rtol=0.02)


def test_marginal_bradley_terry_against_quadrature() -> None:
    reward = torch.tensor([[1.0, -0.5, 2.0, 0.2, 0.4, -1.0]])
    sigma = torch.tensor([[0.3, 1.0, 2.0, 0.8, 2.5, 1.0]])
    weight, target_of, margin = torch.tensor([[1.0, 1, 1], [1, 1, 0.5], [0, 0.3, 0]])
    numbers = Batch(weight, target_of, margin, torch.empty(0, 3), torch.zeros(1, 1))
    loss = MarginalBt(weight=0.0)(reward, sigma, numbers).numpy()[0]
    for i, (z, target) in enumerate(((0.8, 1), (-0.5 - 0.4 - 0.3, 1), (3.0, 0.5))):
        s = float(np.hypot(*sigma.numpy()[0, [i, i + 3]]))
        likelihood = quad(lambda e: np.exp(target * (z + s * e) - np.logaddexp(0, z + s * e)) * norm.pdf(e), -9, 9)[0]  # noqa: B023
        np.testing.assert_allclose(loss[i], -np.log(likelihood), rtol=2e-3)


def test_gaussian_nll_is_the_mean_over_drawn_targets() -> None:
    """The exact expectation over refits, of which only mean and variance are kept, equals the mean over all draws."""
    rng = np.random.default_rng(0)
    draws = rng.normal(size=(16, 4)) * 2 + 1
    scale = Scale.of(draws)
    target = scale.targets(draws)
    standard = (draws - draws.mean(axis=1, keepdims=True)) / draws.std(axis=1, keepdims=True)
    standard *= draws.std(axis=1).mean()
    mu, sigma = torch.from_numpy(rng.normal(size=(1, 4))), torch.from_numpy(rng.uniform(0.3, 2, size=(1, 4)))
    extra = torch.from_numpy(np.stack([target[:2, 0], target[2:, 0], target[:2, 1], target[2:, 1]]))
    numbers = Batch(torch.ones(2), torch.ones(2), torch.zeros(2), extra, torch.zeros(1, 1))
    loss = GaussianNll()(mu, sigma, numbers).numpy()[0]
    each = -np.mean(norm.logpdf(standard, mu[0].numpy(), sigma[0].numpy()), axis=0) - 0.5 * np.log(2 * np.pi)
    np.testing.assert_allclose(loss, each[:2] + each[2:], rtol=1e-6)
