"""Paths of tilts: what the halves of pools make of the whole, and where a path may end."""

from __future__ import annotations

import numpy as np
import pytest

from embrm.bestofn import tilt_path
from embrm.bestofn.weighed import WeighedPools
from embrm.core.arrays import Array


def pools(seed: int, *, prompts: int = 5, n: int = 31) -> tuple[Array, Array, Array]:
    """Return weights, proxy and gold with offsets of their own, and some texts that π_ref would never write."""
    rng = np.random.default_rng(seed)
    log_weight = rng.normal(size=(prompts, n))
    log_weight[rng.random((prompts, n)) < 0.2] = -np.inf
    proxy = rng.normal(size=(prompts, n)) + 100 * rng.normal(size=(prompts, 1))
    return log_weight, proxy, proxy - rng.normal(size=(prompts, n)) ** 2


def transcribed(log_weight: Array, proxy: Array, gold: Array, eta: float) -> list[float]:
    """Return the definitions of one pool's KL, means, effective sample size, variance and covariance."""
    real = np.isfinite(log_weight)
    log_w, r, g = log_weight[real], proxy[real], gold[real]
    start = np.exp(log_w - np.logaddexp.reduce(log_w))
    tilted = log_w + eta * r
    log_p = tilted - np.logaddexp.reduce(tilted)
    p = np.exp(log_p)
    kl = (p * (log_p - np.log(start))).sum()
    mean, mean_gold = p @ r, p @ g
    return [kl, mean, mean_gold, 1 / (p**2).sum(), p @ (r - mean) ** 2, p @ ((r - mean) * (g - mean_gold))]


@pytest.mark.parametrize("eta", [0.0, 0.7, 5.0, 3000.0])
def test_whole_and_halves_have_the_moments_of_their_definitions(eta: float) -> None:
    log_weight, proxy, gold = pools(0)
    log_weight[2, ::2] = -np.inf  # of this prompt one half says nothing, and counts as the whole
    whole, halves = WeighedPools(log_weight, proxy, gold).at(np.array([eta]))
    for i, (w, r, g) in enumerate(zip(log_weight, proxy, gold, strict=True)):
        expected = transcribed(w, r, g, eta)
        np.testing.assert_allclose(whole[:, 0, i], expected, rtol=1e-9, atol=1e-9)
        starts = [1] if i == 2 else [0, 1]
        parts = [transcribed(w[start::2], r[start::2], g[start::2], eta) for start in starts]
        parts += [expected] if i == 2 else []
        np.testing.assert_allclose(halves[:, 0, i], np.mean(parts, axis=0), rtol=1e-9, atol=1e-9)


def test_a_pool_of_one_text_has_one_half() -> None:
    whole, halves = WeighedPools(np.zeros((1, 1)), np.full((1, 1), 3.0), np.full((1, 1), 2.0)).at(np.array([4.0]))
    np.testing.assert_array_equal(whole, halves)
    np.testing.assert_array_equal(whole[:, 0, 0], [0, 3, 2, 1, 0, 0])


def test_a_path_that_ends_has_the_points_of_the_whole_path_as_far_as_asked() -> None:
    log_weight, proxy, gold = pools(1, n=200)
    whole, part = tilt_path(log_weight, proxy, gold), tilt_path(log_weight, proxy, gold, until=1.0)
    n = len(part.inverse_beta)
    needed = int((whole.kl.mean(axis=1) <= 1.0).sum())
    assert needed < n < len(whole.inverse_beta)
    for name in ("inverse_beta", "kl", "proxy", "gold", "ess", "bias"):
        np.testing.assert_array_equal(getattr(part, name), getattr(whole, name)[:n])
