"""Imitation: the log-density ratio against densities known or computed by hand, and the rule that adds it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import multivariate_normal
from sklearn.covariance import LedoitWolf

from embrm import selectors
from embrm.core.results import Reward
from embrm.data.texts import Texts, read_texts
from embrm.embedders import get
from embrm.errors import DataError, OptionError
from embrm.evaluation.imitation import imitation_penalty
from embrm.evaluation.penalty import Penalty, check_penalty
from embrm.evaluation.scorer import Scorer


def two(n: int = 400, d: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Answers of experts and of a policy, and new ones."""
    rng = np.random.default_rng(0)
    skew = np.eye(d) + 0.5 * np.triu(np.ones((d, d)), 1)
    return rng.normal(size=(n, d)) @ skew + 1, rng.normal(size=(n, d)) * 1.5, rng.normal(size=(20, d))


def test_the_ratio_is_that_of_scipy_s_densities() -> None:
    experts, policy, x = two()
    densities = []
    for known in (policy, experts):
        fitted = LedoitWolf().fit(known)
        densities.append(multivariate_normal(fitted.location_, fitted.covariance_).logpdf(x))
    # A rotation to principal axes changes no density where no axis is left out.
    np.testing.assert_allclose(
        imitation_penalty(x, experts=experts, reference=policy), densities[0] - densities[1], rtol=1e-5
    )


def test_with_many_answers_it_is_the_ratio_of_the_truth_on_the_axes_that_are_kept() -> None:
    rng = np.random.default_rng(1)
    spread, mean = np.array([9.0, 5.0, 1e-3]), np.array([4.0, -3.0, 0.0])
    experts, policy = (rng.normal(size=(40_000, 3)) * spread + shift for shift in (mean, 0 * mean))
    x = rng.normal(size=(50, 3)) * spread
    covariance = np.diag(spread[:2] ** 2)
    truth = multivariate_normal([0, 0], covariance).logpdf(x[:, :2])
    truth -= multivariate_normal(mean[:2], covariance).logpdf(x[:, :2])
    np.testing.assert_allclose(imitation_penalty(x, experts=experts, reference=policy, axes=2), truth, atol=0.15)


def test_the_rule_adds_the_weighted_ratio_and_is_the_mean_at_weight_zero() -> None:
    experts, policy, x = two()
    penalty = imitation_penalty(x, experts=experts, reference=policy)
    reward = Reward(np.random.default_rng(2).normal(size=(3, 20)), "members")
    offsets = np.array([0, 8, 20])
    off, on = (selectors.get("imitation")(weight=w)(reward, offsets=offsets, penalty=penalty) for w in (0.0, 0.3))
    mean = selectors.get("mean")()(reward, offsets=offsets)
    np.testing.assert_array_equal(off.index, mean.index)
    np.testing.assert_array_equal(off.value, mean.value)
    np.testing.assert_allclose(on.value, reward.mean - 0.3 * penalty)
    sure = selectors.get("imitation")(weight=1e6)(reward, offsets=offsets, penalty=penalty)
    assert sure.index.tolist() == [penalty[:8].argmin(), 8 + penalty[8:].argmin()]


def read(path: Path, rows: list[dict[str, object]]) -> Texts:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_texts(path)


def test_of_texts_the_pools_stand_for_the_policy_where_no_other_reference_is_given(tmp_path: Path) -> None:
    words = ["red", "green", "blue", "black", "white", "grey", "pink", "brown"]
    pools = read(tmp_path / "pools.jsonl", [{"prompt": "p", "responses": [f"{a} {b}" for b in words]} for a in words])
    experts = read(
        tmp_path / "experts.jsonl", [{"prompt": "q", "response": f"red {a} pink {b}"} for a in words for b in words]
    )
    usual = read(tmp_path / "usual.jsonl", [{"prompt": "q", "response": f"{a} {b} {b}"} for a in words for b in words])
    scorer = Scorer("scores.jsonl", None, lambda model: {"embedder": get("hashing")(dimension=16)})
    x, e, u = (scorer.vectors(t, space="response") for t in (pools, experts, usual))
    for reference, vectors in ((None, x), (usual, u)):
        found = Penalty("imitation", reference, experts=experts).of(pools, scorer, seed=0)
        np.testing.assert_allclose(found, imitation_penalty(x, experts=e, reference=vectors))
    with pytest.raises(OptionError, match="'imitation' needs expert answers, and no other penalty has them"):
        Penalty("imitation")
    with pytest.raises(OptionError, match="'imitation' needs expert answers, and no other penalty has them"):
        Penalty("mbr", experts=experts)
    with pytest.raises(OptionError, match="'imitation' needs imitation, with expert answers"):
        check_penalty([selectors.get("imitation")()], given=False)


def test_what_is_refused() -> None:
    experts, policy, x = two(10)
    with pytest.raises(DataError, match="10 expert answers, all equal"):
        imitation_penalty(x, experts=np.ones((10, 5)), reference=policy)
    with pytest.raises(DataError, match="1 reference answers, all equal"):
        imitation_penalty(x, experts=experts, reference=policy[:1])
    with pytest.raises(DataError, match="must have one width, got 5, 5 and 4"):
        imitation_penalty(x, experts=experts, reference=policy[:, :4])
    with pytest.raises(OptionError, match="axes must be >= 1"):
        imitation_penalty(x, experts=experts, reference=policy, axes=0)
