"""Averaged weights: the prediction ensemble where a reward is linear, and near it only for branches of one head."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from torch import Tensor

from embrm import heads, load_model
from embrm.errors import OptionError
from embrm.heads.gradient.head import GradientHead
from embrm.heads.gradient.latent import Latent
from embrm.heads.gradient.layers import Init, Params, affine, dense
from tests.planted import planted


@dataclass(frozen=True, kw_only=True)
class Flat(GradientHead):
    """A reward that is linear in its weights, trained by gradient."""

    def parameters(self, width: int) -> dict[str, Init]:
        return dense("input", width, 1)

    def encode(self, params: Params, x: Tensor) -> Latent:
        return Latent(affine(params, "input", x))

    def decode(self, params: Params, z: Tensor) -> Tensor:
        return z.squeeze(-1)


def test_of_a_linear_head_it_is_the_prediction_ensemble() -> None:
    pairs, reward = planted(pairs=300)
    model: Any = heads.get("warm")(base=Flat(epochs=10, learning_rate=0.05)).fit(pairs, seed=0)
    x = pairs.features
    branches = model.branches.score(x)
    assert branches.draws.shape == (6, len(x))
    assert branches.centred().sd.min() > 1e-3
    np.testing.assert_allclose(model.score(x).mean, branches.mean, atol=1e-5)
    np.testing.assert_allclose(model.reference, branches.reference.mean(), atol=1e-5)
    assert np.corrcoef(model.score(x).mean, reward)[0, 1] > 0.8


def test_of_a_network_it_is_near_the_ensemble_of_branches_and_far_from_one_of_strangers() -> None:
    pairs, _ = planted(pairs=400)
    base: Any = heads.get("mlp")(hidden=(32, 16), epochs=8, patience=0)
    model: Any = heads.get("warm")(base=base, epochs=3).fit(pairs, seed=0)
    x = pairs.features
    near = np.corrcoef(model.score(x).mean, model.branches.score(x).mean)[0, 1]
    strangers: Any = dataclasses.replace(base, members=6).fit(pairs, seed=0)
    averaged = dataclasses.replace(
        strangers, reference=np.zeros(1), params={k: a.mean(axis=0, keepdims=True) for k, a in strangers.params.items()}
    )
    far = np.corrcoef(averaged.score(x).mean, strangers.score(x).mean)[0, 1]
    assert near > 0.99
    assert far < near - 0.02


def test_branches_start_from_the_trained_head() -> None:
    """With learning rates of almost nothing the average is the head itself."""
    pairs, _ = planted(pairs=200)
    base = heads.get("mlp")(hidden=(8,), epochs=3)
    model = heads.get("warm")(base=base, rates=(1e-7,), members=2).fit(pairs, seed=3)
    np.testing.assert_allclose(
        model.score(pairs.features).draws, base.fit(pairs, seed=3).score(pairs.features).draws, atol=1e-4
    )


def test_branches_may_differ_in_dropout(tmp_path: Any) -> None:
    pairs, reward = planted(pairs=300)
    base = heads.get("dropout")(epochs=8)
    model: Any = heads.get("warm")(base=base, members=4, rates=(0.1, 0.5), dropouts=(0.1, 0.1, 0.4)).fit(pairs, seed=0)
    x = pairs.features
    assert model.branches.score(x).draws.shape == (4, len(x))
    assert model.score(x).kind == "point"
    assert np.corrcoef(model.score(x).mean, reward)[0, 1] > 0.7
    model.save(tmp_path / "model")
    loaded: Any = load_model(tmp_path / "model")
    np.testing.assert_allclose(loaded.score(x).draws, model.score(x).draws, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(loaded.branches.score(x).draws, model.branches.score(x).draws, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"base": heads.get("linear")()}, "base must be a gradient head"),
        ({"base": heads.get("mlp")(members=3)}, "base must be a gradient head trained in one stage, with members=1"),
        ({"base": heads.get("brme")()}, "trained in one stage"),
        ({"base": heads.get("mlp")(diversity="rank")}, "no diversity 'rank'"),
        ({"dropouts": (0.2,)}, "dropouts are for the base 'dropout', got 'mlp'"),
        ({"members": 1}, "members must be >= 2"),
        ({"rates": (0.0,)}, "rates must be shares > 0"),
    ],
)
def test_bad_options_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        heads.get("warm")(**options)
