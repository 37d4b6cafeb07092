"""Which vectors a fitted head accepts: those of its own embedder, however they were rounded."""

from __future__ import annotations

import json

import numpy as np
import pytest

from embrm import Features, Pairs, heads
from embrm.core.provenance import Provenance
from embrm.errors import DataError
from tests.planted import planted


def made_by(embedder: str) -> Pairs:
    pairs, _ = planted(pairs=60)
    x = pairs.features
    features = Features(x.views, prompt=x.prompt, length=x.length, embedder=Provenance.of(embedder))
    return Pairs(features, pairs.chosen, pairs.rejected)


def identity(**changes: str) -> str:
    return json.dumps({"model": "a", "precision": "float32", "backend": "torch"} | changes)


def test_precision_and_backend_only_round() -> None:
    pairs = made_by(identity())
    model = heads.get("linear")(prior_precision=1.0).fit(pairs, seed=0)
    expected = model.score(pairs.features).draws
    other = made_by(identity(precision="bfloat16", backend="onnx")).features
    np.testing.assert_allclose(model.score(other).draws, expected)


@pytest.mark.parametrize("embedder", [identity(model="b"), "something else", "[1]"])
def test_vectors_of_another_model_are_refused(embedder: str) -> None:
    model = heads.get("linear")(prior_precision=1.0).fit(made_by(identity()), seed=0)
    with pytest.raises(DataError, match="embed the texts with the first"):
        model.score(made_by(embedder).features)
    with pytest.raises(DataError, match="embed the texts with the first"):
        heads.get("linear")(prior_precision=1.0).fit(made_by(embedder), seed=0).score(made_by(identity()).features)
