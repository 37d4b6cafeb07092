"""Label noise: flips that were planted are found, and what cannot be known is said by the interval."""

from __future__ import annotations

import numpy as np
import pytest

from embrm import Features, Pairs
from embrm.errors import DataError
from embrm.evaluation.label_noise import label_noise


def planted(n: int, *, flips: float, strength: float, seed: int = 0, ties: int = 0) -> Pairs:
    """Return pairs labelled by a Bradley-Terry annotator with a linear reward, some labels flipped."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2 * n, 16)).astype(np.float32)
    direction = rng.standard_normal(16)
    gold = x @ (strength * direction / np.linalg.norm(direction))
    first = np.arange(0, 2 * n, 2)
    right = rng.random(n) < 1 / (1 + np.exp(gold[first + 1] - gold[first]))
    right ^= rng.random(n) < flips
    tie = np.arange(n) < ties
    chosen, rejected = np.where(right, first, first + 1), np.where(right, first + 1, first)
    return Pairs(Features({"joint": x}, prompt=np.repeat(np.arange(n) // 2, 2)), chosen, rejected, tie=tie)


@pytest.mark.parametrize("flips", [0.0, 0.1, 0.25])
def test_planted_flips_are_found(flips: float) -> None:
    found = label_noise(planted(1500, flips=flips, strength=3, ties=100), draws=200)
    assert abs(float(found.estimate) - flips) < 0.08
    assert float(found.low) <= flips + 0.02
    assert float(found.high) >= flips - 0.02
    assert float(found.high) - float(found.low) < 0.25
    assert found.n == 700  # prompts with a pair that is no tie


def test_where_the_head_knows_nothing_the_interval_is_wide() -> None:
    found = label_noise(planted(200, flips=0.0, strength=0.0), draws=200)
    assert float(found.high) - float(found.low) > 0.3


@pytest.mark.parametrize(("n", "ties"), [(12, 0), (40, 40)])
def test_what_is_too_little_is_told(n: int, ties: int) -> None:
    with pytest.raises(DataError, match="label noise needs pairs, other than ties, of at least 10 prompts"):
        label_noise(planted(n, flips=0, strength=1, ties=ties))
