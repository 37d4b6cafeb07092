"""The laws of every embedder: shape, order, the empty string, batches, repeats, and a cache hit that equals a miss."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embrm import embedders
from embrm.core.data import Provenance
from embrm.embedders import Embedder, provenance_of
from embrm.errors import DataError
from tests.tiny_model import make_tiny_model
from tests.tiny_models import causal_lm

TEXTS = [
    "The cat sat on the mat.",
    "",
    "Boil the egg for six minutes, then cool it in cold water.",
    "Yes.",
    " \n\t ",
    "Naïve café, 東京, Привет, 🙂",
    "a long answer that repeats itself and " * 120,
]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def language(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return causal_lm(tmp_path_factory.mktemp("model") / "language")


@pytest.fixture(params=embedders.names())
def embedder(
    request: pytest.FixtureRequest, tiny: Path, language: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Any:
    monkeypatch.setenv("EMBRM_CACHE", str(tmp_path / "cache"))
    models = {"sentence_transformer": tiny, "causal_lm": language}
    options = {"model": str(models[request.param])} if request.param in models else {}
    if request.param in ("minilm", "sentence_transformer"):
        options["precision"] = "float32"  # "auto" is measured: another on another day
    return embedders.get(request.param)(**options)


def test_vectors_are_finite_float32_rows(embedder: Any) -> None:
    done = embedder.embed(TEXTS)
    assert done.vectors.shape == (len(TEXTS), done.vectors.shape[1])
    assert done.vectors.dtype == np.float32
    assert np.isfinite(done.vectors).all()
    assert done.cut.shape == (len(TEXTS),)
    assert done.truncated == done.cut.sum()
    assert not done.cut[:2].any()
    assert done.computed == len(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(done.vectors[[0, 2, 3, 5, 6]], axis=1), 1, rtol=1e-5)


def test_order_is_kept_and_repeats_are_computed_once(embedder: Any) -> None:
    apart = [embedder.embed([text]).vectors[0] for text in TEXTS]
    order = [3, 0, 3, 6, 1, 5, 2, 4, 0]
    again = embedder.embed([TEXTS[i] for i in order])
    np.testing.assert_array_equal(again.vectors, np.stack([apart[i] for i in order]))


def test_different_texts_have_different_vectors(embedder: Any) -> None:
    x = embedder.embed([TEXTS[i] for i in (0, 2, 3, 5, 6)]).vectors
    assert (x @ x.T)[~np.eye(5, dtype=bool)].max() < 1 - 1e-6


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    def fresh() -> Iterator[str]:
        for i in range(100):
            monkeypatch.setenv("EMBRM_CACHE", str(tmp_path / f"fresh{i}"))
            yield str(i)

    return fresh()


def assert_close(embedder: Any, x: Any, y: Any) -> None:
    """Equal up to rounding: the padding of a batch changes the last bits, and of bfloat16 there are few."""
    if "bfloat16" in embedder.identity:
        cosine = (x * y).sum(axis=1) / np.linalg.norm(x, axis=1) / np.linalg.norm(y, axis=1)
        np.testing.assert_allclose(cosine, 1, atol=1e-3)
    else:
        np.testing.assert_allclose(x, y, atol=1e-5)


def test_batch_size_is_irrelevant(embedder: Any, caches: Iterator[str]) -> None:
    if not hasattr(embedder, "batch_size"):
        pytest.skip("this embedder has no batches")
    together = embedder.embed(TEXTS).vectors
    for size in (1, 3):
        next(caches)
        other = replace(embedder, batch_size=size)
        assert other.identity == embedder.identity
        done = other.embed(TEXTS)
        assert done.computed == len(TEXTS)
        assert_close(embedder, done.vectors, together)


def test_a_hit_equals_a_miss(embedder: Any, caches: Iterator[str]) -> None:
    first = embedder.embed(TEXTS[:4])
    partial = embedder.embed(TEXTS)
    hit = embedder.embed(TEXTS)
    np.testing.assert_array_equal(partial.vectors[:4], first.vectors)
    np.testing.assert_array_equal(hit.vectors, partial.vectors)
    np.testing.assert_array_equal(hit.cut, partial.cut)
    next(caches)
    miss = embedder.embed(TEXTS)
    assert miss.computed == len(TEXTS)
    assert_close(embedder, hit.vectors, miss.vectors)
    np.testing.assert_array_equal(hit.cut, miss.cut)


def test_only_new_texts_are_computed(embedder: Any, tmp_path: Path) -> None:
    embedder.embed(TEXTS[:4])
    if not (tmp_path / "cache").exists():
        pytest.skip("this embedder needs no cache")
    assert embedder.embed([*TEXTS, *TEXTS]).computed == len(TEXTS) - 4
    assert embedder.embed(TEXTS).computed == 0


def test_identity_is_that_of_the_options(embedder: Any) -> None:
    twin = replace(embedder)
    assert twin is not embedder
    assert isinstance(embedder.identity, str)
    assert twin.identity == embedder.identity


def test_its_config_makes_it_again(embedder: Any) -> None:
    config = json.loads(json.dumps(embedder.config()))
    assert set(config) == {"name", "options"}
    again = Embedder.of(config)
    assert again == embedder
    assert again.identity == embedder.identity
    assert Embedder.of(embedder) is embedder
    assert provenance_of(embedder) == Provenance(embedder.identity, config)


def test_global_generators_are_untouched(embedder: Any) -> None:
    import torch

    numpy_before, torch_before = np.random.get_state(legacy=False)["state"]["key"].copy(), torch.get_rng_state()  # noqa: NPY002
    embedder.embed(TEXTS)
    np.testing.assert_array_equal(np.random.get_state(legacy=False)["state"]["key"], numpy_before)  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_before)


def test_progress_goes_to_stderr_only_when_asked(embedder: Any, capsys: pytest.CaptureFixture[str]) -> None:
    embedder.embed(TEXTS[:2])
    quiet = capsys.readouterr()
    assert quiet.out == ""
    assert "text/s" not in quiet.err
    embedder.embed(TEXTS, progress=True)
    loud = capsys.readouterr()
    assert loud.out == ""
    assert "text/s" in loud.err


def test_what_is_no_text_is_refused(embedder: Any) -> None:
    with pytest.raises(DataError, match="no texts to embed"):
        embedder.embed([])
    with pytest.raises(DataError, match=r"got a single string; pass \[text\]"):
        embedder.embed("one")
    with pytest.raises(DataError, match="text 1 is NoneType"):
        embedder.embed(["one", None])
    with pytest.raises(DataError, match="text 1 holds half of a surrogate pair"):
        embedder.embed(["one", "bad \ud83d"])
