from collections.abc import Callable

import numpy as np
import pytest

from embrm.errors import DataError
from embrm.policies.grammar import GrammarPolicy, ppo_gradient, reinforce_gradient

Flat = Callable[[np.ndarray], float]


def policy(seed: int, sizes: tuple[int, ...] = (3, 2, 4)) -> GrammarPolicy:
    rng = np.random.default_rng(seed)
    return GrammarPolicy(tuple(rng.normal(size=k) for k in sizes))


def everything(sizes: tuple[int, ...] = (3, 2, 4)) -> np.ndarray:
    return np.stack(np.meshgrid(*map(np.arange, sizes), indexing="ij"), axis=-1).reshape(-1, len(sizes))


def differences(function: Flat, flat: np.ndarray, step: float = 1e-6) -> np.ndarray:
    eye = np.eye(len(flat)) * step
    return np.array([(function(flat + e) - function(flat - e)) / (2 * step) for e in eye])


def test_log_probability_entropy_and_kl_by_enumeration() -> None:
    a, b, rows = policy(0), policy(1), everything()
    p, q = np.exp(a.log_probability(rows)), np.exp(b.log_probability(rows))
    np.testing.assert_allclose(p.sum(), 1)
    np.testing.assert_allclose(a.entropy(), -(p * np.log(p)).sum())
    np.testing.assert_allclose(a.kl(b), (p * np.log(p / q)).sum())
    np.testing.assert_allclose(a.means, p @ rows)


def test_samples_follow_the_probabilities() -> None:
    a = policy(2)
    drawn = a.sample(40_000, rng=np.random.default_rng(0))
    for i, p in enumerate(a.probabilities):
        np.testing.assert_allclose(np.bincount(drawn[:, i], minlength=len(p)) / 40_000, p, atol=0.011)


def test_kl_gradient_equals_finite_differences() -> None:
    a, b = policy(0), policy(1)
    numeric = differences(lambda x: GrammarPolicy.from_flat(x, like=a).kl(b), a.flat)
    np.testing.assert_allclose(a.kl_gradient(b), numeric, atol=1e-8)


def test_score_equals_finite_differences() -> None:
    a = policy(0)
    row = np.array([[2, 0, 3]])
    numeric = differences(lambda x: float(GrammarPolicy.from_flat(x, like=a).log_probability(row)[0]), a.flat)
    np.testing.assert_allclose(a.score(row)[0], numeric, atol=1e-8)


def test_reinforce_is_unbiased() -> None:
    # The leave-one-out baseline leaves the expectation alone: compare with ∇E[r] by enumeration and differences.
    a, rows = policy(3), everything()
    values = np.random.default_rng(0).normal(size=len(rows)) + 5

    def expected(x: np.ndarray) -> float:
        return float(np.exp(GrammarPolicy.from_flat(x, like=a).log_probability(rows)) @ values)

    rng = np.random.default_rng(1)
    table = dict(zip(map(tuple, rows.tolist()), values, strict=True))
    draws = []
    for _ in range(4000):
        counts = a.sample(8, rng=rng)
        draws.append(reinforce_gradient(a, counts, np.array([table[tuple(c)] for c in counts.tolist()])))
    error = np.std(draws, axis=0) / np.sqrt(len(draws))
    assert (np.abs(np.mean(draws, axis=0) - differences(expected, a.flat)) < 4.5 * error + 1e-12).all()


def test_ppo_gradient_equals_finite_differences_of_the_clipped_objective() -> None:
    old_policy, a = policy(0), policy(0)
    a = GrammarPolicy.from_flat(a.flat + np.random.default_rng(5).normal(size=len(a.flat)) * 0.3, like=a)
    counts = old_policy.sample(200, rng=np.random.default_rng(0))
    advantage = np.random.default_rng(1).normal(size=200)
    old = old_policy.log_probability(counts)

    def objective(x: np.ndarray) -> float:
        ratio = np.exp(GrammarPolicy.from_flat(x, like=a).log_probability(counts) - old)
        return float(np.minimum(ratio * advantage, np.clip(ratio, 0.8, 1.2) * advantage).mean())

    ratio = np.exp(a.log_probability(counts) - old)
    assert 0.1 < ((ratio > 1.2) | (ratio < 0.8)).mean() < 0.9  # the clip is at work
    numeric = differences(objective, a.flat)
    np.testing.assert_allclose(ppo_gradient(a, counts, advantage, old=old, clip=0.2), numeric, atol=1e-7)


def test_tilted_is_the_normalised_exponential() -> None:
    a, rows = policy(4), everything()
    values = [np.random.default_rng(i).normal(size=len(p)) for i, p in enumerate(a.logits)]
    reward = np.array([sum(v[c] for v, c in zip(values, row, strict=True)) for row in rows])
    p = np.exp(a.log_probability(rows) + reward / 0.7)
    np.testing.assert_allclose(np.exp(a.tilted(values, beta=0.7).log_probability(rows)), p / p.sum(), atol=1e-14)


@pytest.mark.parametrize("probabilities", [[[0.5, 0.5], [1.0, 0.0]], [[[0.5, 0.5]]], [[]]])
def test_impossible_logits(probabilities: list[list[float]]) -> None:
    with pytest.raises(DataError, match=r"logits of attribute \d must be finite and 1-D .*use log-probabilities"):
        GrammarPolicy.from_probabilities(probabilities)
