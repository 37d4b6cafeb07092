"""IBL in the world: the distance of each class, subtracted in runs and paths, and what it must do there."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.spatial.distance import mahalanobis
from scipy.special import rel_entr
from sklearn.covariance import LedoitWolf

from embrm import embedders, heads
from embrm.data.encode import encode
from embrm.errors import OptionError
from embrm.heads import FittedHead
from embrm.world import Mechanism
from embrm.world.penalty import LatentPenalty
from embrm.world.runs import rewarded_by, scored_pool
from embrm.world.shipped import Shipped, load


@pytest.fixture(scope="module")
def data() -> Shipped:
    return load("hashing")


@pytest.fixture(scope="module")
def model(data: Shipped) -> FittedHead:
    pairs = data.preferences(Mechanism(bias=1), flips=0.25, pairs=400, seed=0)
    return heads.get("mlp")(hidden=(16, 6), epochs=2).fit(pairs, seed=0)


def test_the_distance_is_that_of_the_class_of_the_prompt(data: Shipped, model: FittedHead) -> None:
    topics = data.world.spec.topics
    latents, written = model.latent(data.features["training"]), data.responses["training"]
    found = LatentPenalty.of(model, data, weight=0.5).rows(latents[:20], written.prompts[:20])
    pooled = LatentPenalty.of(model, data, weight=0.5, by_class=False).rows(latents[:20], written.prompts[:20])
    group = np.array([topics[t].group for t in written.topic])
    for values, by_class in ((found, True), (pooled, False)):
        for i in range(20):
            members = (group == group[i]) if by_class else np.ones(len(group), dtype=bool)
            usual = LedoitWolf().fit(latents[members])
            exact = 0.5 * mahalanobis(latents[i], usual.location_, np.linalg.inv(usual.covariance_))
            np.testing.assert_allclose(values[i], exact, rtol=1e-3)
    assert np.abs(found - pooled).max() > 0.01


def test_texts_and_pools_pay_the_same(data: Shipped, model: FittedHead) -> None:
    embedder = embedders.get("hashing")()
    penalty = LatentPenalty.of(model, data, weight=2.0)
    drawn = data.world.sample(8, seed=0)
    reward = rewarded_by(model, embedder)
    paid = np.asarray(reward(drawn.prompts, drawn.texts)) - penalty.from_reward(reward, embedder)(
        drawn.prompts, drawn.texts
    )
    latents = model.latent(encode(drawn.prompts, drawn.texts, embedder=embedder).features)
    np.testing.assert_allclose(paid, penalty.rows(latents, drawn.prompts), rtol=1e-5)
    plain, less = scored_pool(model, data), scored_pool(model, data, penalty=penalty)
    np.testing.assert_allclose((plain.proxy - less.proxy).ravel(), penalty.on_proposals(data), atol=1e-6)
    assert (less.proxy < plain.proxy).all()


def test_new_texts_of_a_refined_pool_pay_too(data: Shipped, model: FittedHead) -> None:
    embedder, penalty = embedders.get("hashing")(), LatentPenalty.of(model, data, weight=2.0)
    made = [scored_pool(model, data, embedder=embedder, refine=4, penalty=p).proxy[:, -4:] for p in (None, penalty)]
    assert made[0].mean() - made[1].mean() > 2.0  # a distance is about the root of the dimensions


def test_a_heavier_penalty_keeps_the_optimum_nearer(data: Shipped, model: FittedHead) -> None:
    # d E[D] / dγ = -Var(D)/β along the tilted optimum, so the mean distance falls whatever the reward is.
    plain = scored_pool(model, data)
    distance = LatentPenalty.of(model, data, weight=1.0).on_proposals(data).reshape(plain.proxy.shape)
    means = []
    for weight in (0.0, 0.2, 0.4, 0.8):
        pool = replace(plain, proxy=plain.proxy - weight * distance)
        w = pool.weights(4.0)
        np.testing.assert_allclose(w.sum(axis=1), 1)
        assert (rel_entr(w, pool.weights(0.0)).sum(axis=1) >= 0).all()
        means.append((w * distance).sum(axis=1).mean())
    assert (np.diff(means) < 0).all()


@pytest.mark.parametrize("weight", [-1.0, np.nan, np.inf])
def test_a_weight_that_is_no_weight_is_refused(weight: float, data: Shipped, model: FittedHead) -> None:
    with pytest.raises(OptionError, match="weight must be >= 0 and finite"):
        LatentPenalty.of(model, data, weight=weight)
