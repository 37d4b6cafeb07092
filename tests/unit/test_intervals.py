"""Resampling: the bootstrap's own moments, whatever the size of a chunk."""

from __future__ import annotations

import numpy as np
import pytest

from embrm.metrics import intervals
from embrm.metrics.intervals import resampled_means


def test_means_have_the_bootstrap_s_mean_and_variance() -> None:
    x = np.random.default_rng(0).normal(size=(30, 2)) * [1, 5]
    means = resampled_means(x, seed=0, draws=40_000)
    np.testing.assert_allclose(means.mean(axis=0), x.mean(axis=0), atol=0.02)
    np.testing.assert_allclose(means.var(axis=0), x.var(axis=0) / 30, rtol=0.03)


def test_two_ways_resample_prompts_and_seeds_on_their_own() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(20, 1)) + 3 * rng.normal(size=(1, 6))
    means = resampled_means(x, seed=0, draws=40_000, two_way=True)
    # The two effects are additive, so their variances are.
    expected = x.mean(axis=1).var() / 20 + x.mean(axis=0).var() / 6
    np.testing.assert_allclose(means.var(), expected, rtol=0.03)


def test_the_size_of_a_chunk_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    x = np.random.default_rng(0).normal(size=(30, 4, 2))
    whole = resampled_means(x, seed=0, draws=101)
    monkeypatch.setattr(intervals, "_ENTRIES", 70)
    np.testing.assert_allclose(resampled_means(x, seed=0, draws=101), whole)
    assert resampled_means(x, seed=0, draws=101, two_way=True).shape == (101, 2)
