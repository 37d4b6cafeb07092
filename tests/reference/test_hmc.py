"""The sampled posterior against numeric integration, and Laplace's approximation against the sampled one."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from embrm import heads
from embrm.core.arrays import Array
from embrm.errors import ConvergenceError, OptionError
from tests.planted import planted


def on_a_grid(d: Array, precision: float) -> tuple[Array, Array]:
    """Posterior mean and covariance of two coefficients by summing over a grid."""
    axis = np.linspace(-6, 14, 401)
    theta = np.stack(np.meshgrid(axis, axis, indexing="ij"), axis=-1).reshape(-1, 2)
    log = -np.logaddexp(0, -theta @ d.T).sum(axis=1) - 0.5 * precision * (theta**2).sum(axis=1)
    p = np.exp(log - log.max())
    p /= p.sum()
    mean = p @ theta
    return mean, (theta - mean).T @ (p[:, None] * (theta - mean))


def test_moments_are_those_of_the_exact_posterior() -> None:
    pairs, _ = planted(seed=3, pairs=25, width=2)
    model: Any = heads.get("hmc")(prior_precision=0.2, draws=400, warmup=100, chains=2).fit(pairs, seed=0)
    x = pairs.features.matrix("joint").astype(np.float64)
    scale = x[np.unique(np.concatenate([pairs.chosen, pairs.rejected]))].std(axis=0)
    mean, covariance = on_a_grid((x[pairs.chosen] - x[pairs.rejected]) / scale, 0.2)
    sd = np.sqrt(np.diag(covariance))
    draws = model.coefficients * scale / sd
    error = 1 / np.sqrt(model.record["effective_sample_size"])
    np.testing.assert_allclose(draws.mean(axis=0), mean / sd, atol=4 * error)
    np.testing.assert_allclose(np.cov(draws.T), covariance / np.outer(sd, sd), atol=6 * error)
    laplace: Any = heads.get("laplace")(prior_precision=0.2).fit(pairs, seed=0)
    assert np.abs(laplace.theta * scale / sd - mean / sd).max() > 4 * error  # this posterior is no Gaussian


@pytest.mark.slow
def test_laplace_is_the_limit_of_many_pairs() -> None:
    pairs, _ = planted(pairs=4000, width=6, prompts=500)
    chains: Any = heads.get("hmc")(prior_precision=3.0, draws=500).fit(pairs, seed=0)
    laplace: Any = heads.get("laplace")(prior_precision=3.0).fit(pairs, seed=0)
    sd = np.sqrt(np.diag(laplace.covariance))
    error = 1 / np.sqrt(chains.record["effective_sample_size"])
    np.testing.assert_allclose(chains.coefficients.mean(axis=0) / sd, laplace.theta / sd, atol=4 * error)
    correlation = laplace.covariance / np.outer(sd, sd)
    np.testing.assert_allclose(np.cov((chains.coefficients / sd).T), correlation, atol=6 * error)


def test_wide_features_are_reduced_to_their_leading_components() -> None:
    pairs, _ = planted(pairs=200, width=8)
    x = pairs.features.matrix("joint").astype(np.float64)
    model: Any = heads.get("hmc")(components=3, draws=30, warmup=30, chains=2).fit(pairs, seed=0)
    assert model.record["components"] == 3
    used = x[np.unique(np.concatenate([pairs.chosen, pairs.rejected]))]
    leading = np.linalg.svd((used - used.mean(axis=0)) / used.std(axis=0), full_matrices=False)[2][:3]
    coefficients = model.coefficients * used.std(axis=0)
    np.testing.assert_allclose(coefficients @ leading.T @ leading, coefficients, atol=1e-4 * coefficients.std())
    assert model.score(pairs.features).kind == "posterior"


def test_chains_that_disagree_are_refused() -> None:
    pairs, _ = planted(pairs=200)
    with pytest.raises(ConvergenceError, match=r"R-hat is .* and must be <= 1.05; raise warmup or draws .now 1 and 4"):
        heads.get("hmc")(warmup=1, draws=4, chains=2).fit(pairs, seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"prior_precision": -1.0}, "prior_precision must be > 0"),
        ({"components": 0}, "components must be >= 1"),
        ({"draws": 3}, "draws must be >= 4"),
        ({"chains": 1}, "chains must be >= 2"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        heads.get("hmc")(**options)
