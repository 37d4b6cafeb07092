"""Explanations name the training pairs that carry the preference."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from embrm import Pairs, heads
from embrm.errors import OptionError
from tests.planted import planted


def test_a_pair_is_nearest_to_itself_and_to_its_mirror_image() -> None:
    pairs, _ = planted(pairs=100)
    model = heads.get("linear")(members=3).fit(pairs, seed=0)
    mirrored = Pairs(pairs.features, pairs.rejected[:5], pairs.chosen[:5])
    for i, (one, other) in enumerate(
        zip(
            model.explain(pairs.take(np.arange(5)), training=pairs, neighbours=2),
            model.explain(mirrored, training=pairs, neighbours=2),
            strict=True,
        )
    ):
        assert one.neighbours[0].pair == other.neighbours[0].pair == i
        np.testing.assert_allclose((one.neighbours[0].similarity, other.neighbours[0].similarity), (1, -1))
        np.testing.assert_allclose((one.margin, one.sd), (-other.margin, other.sd))
        np.testing.assert_allclose(one.probability, 1 - other.probability)


def test_numbers_are_those_of_the_draws_and_cosines_of_the_features() -> None:
    pairs, _ = planted(pairs=120)
    train, new = pairs.take(np.arange(100)), pairs.take(np.arange(100, 120))
    model = heads.get("laplace")().fit(train, seed=0)
    draws = model.score(pairs.features).draws
    x = pairs.features.matrix("joint").astype(np.float64)
    d, e = (x[p.chosen] - x[p.rejected] for p in (train, new))
    cosine = (e @ d.T) / np.outer(np.linalg.norm(e, axis=1), np.linalg.norm(d, axis=1))
    for i, explanation in enumerate(model.explain(new, training=train, neighbours=4)):
        margin = draws[:, new.chosen[i]] - draws[:, new.rejected[i]]
        np.testing.assert_allclose((explanation.margin, explanation.sd), (margin.mean(), margin.std()), rtol=1e-9)
        np.testing.assert_allclose(explanation.probability, expit(margin).mean())
        best = np.argsort(-np.abs(cosine[i]))[:4]
        assert [n.pair for n in explanation.neighbours] == best.tolist()
        np.testing.assert_allclose([n.similarity for n in explanation.neighbours], cosine[i, best], rtol=1e-6)
        learnt = draws.mean(axis=0)
        expected = learnt[train.chosen[best]] - learnt[train.rejected[best]]
        np.testing.assert_allclose([n.margin for n in explanation.neighbours], expected, rtol=1e-6, atol=1e-9)


def test_a_network_is_explained_in_its_latent() -> None:
    pairs, _ = planted(pairs=100)
    model = heads.get("mlp")(epochs=2, hidden=(8, 4)).fit(pairs, seed=0)
    z = model.latent(pairs.features).astype(np.float64)
    d = z[pairs.chosen] - z[pairs.rejected]
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    (explanation,) = model.explain(pairs.take([3]), training=pairs, neighbours=3)
    found = [n.similarity for n in explanation.neighbours]
    np.testing.assert_allclose(np.abs(found), np.sort(np.abs(d @ d[3]))[::-1][:3], rtol=1e-5)


def test_at_least_one_neighbour() -> None:
    pairs, _ = planted(pairs=100)
    with pytest.raises(OptionError, match="neighbours must be >= 1"):
        heads.get("linear")().fit(pairs, seed=0).explain(pairs, training=pairs, neighbours=0)
