"""What a file names is not followed on this machine, and a model's folder runs no code."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from embrm import heads, load_model
from embrm.core.data import Features, Pairs
from embrm.data import embedder_of
from embrm.embedders import Embedder, get, provenance_of
from embrm.errors import DataError, OptionError
from tests.tiny_model import make_tiny_model
from tests.tiny_models import causal_lm


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBRM_CACHE", str(tmp_path / "cache"))


def fitted_on(embedder: Embedder) -> heads.FittedHead:
    rng, n = np.random.default_rng(0), np.arange(40)
    features = Features({"joint": rng.normal(size=(80, 3))}, np.tile(n, 2), embedder=provenance_of(embedder))
    return heads.get("linear")(prior_precision=1.0).fit(Pairs(features, n, n + 40), seed=0)


def test_a_folder_that_a_record_names_is_not_followed(tmp_path: Path) -> None:
    embedder = get("causal_lm")(model=str(causal_lm(tmp_path / "lm")))
    model = fitted_on(embedder)
    assert embedder_of(model) == embedder  # of this process: its user gave the folder
    model.save(tmp_path / "model")
    loaded = load_model(tmp_path / "model")
    with pytest.raises(DataError, match=r"names the folder '.*lm' .* --embedder causal_lm --embedder-set model=.*lm"):
        embedder_of(loaded)
    assert embedder_of(loaded, {"model": str(tmp_path / "lm")}) == embedder
    loaded.save(tmp_path / "again")
    with pytest.raises(DataError, match="no path that a file names is followed"):
        embedder_of(load_model(tmp_path / "again"), {"layer": 0})


def test_an_embedder_without_a_folder_is_taken_from_the_record(tmp_path: Path) -> None:
    fitted_on(get("hashing")(dimension=9)).save(tmp_path / "model")
    assert embedder_of(load_model(tmp_path / "model")) == get("hashing")(dimension=9)


def test_code_in_the_folder_of_an_embedder_is_not_run(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "tiny")
    (folder / "own.py").write_text(f"open({str(tmp_path / 'was-run')!r}, 'w')\nclass Own: pass\n")
    modules = json.loads((folder / "modules.json").read_text())
    for kind in ("own.Own", "tiny.own.Own"):
        modules[-1]["type"] = kind
        (folder / "modules.json").write_text(json.dumps(modules))
        with pytest.raises(OptionError, match="holds no model that transformers can load"):
            get("sentence_transformer")(model=str(folder), precision="float32").embed(["a"])
    assert not (tmp_path / "was-run").exists()
