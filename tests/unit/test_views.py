"""Views of several parts: what they hold, which vectors they take, and that no others are made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from embrm import Features, heads, load_model, read_pairs
from embrm.cli import run
from embrm.core.views import needed, parts
from embrm.data.encode import encode
from embrm.data.stream import stream_pairs
from embrm.data.texts import read_texts
from embrm.embedders import get
from embrm.errors import DataError, OptionError
from embrm.evaluation.scorer import Scorer
from embrm.heads.ensemble import Ensemble
from embrm.heads.gradient.rows import RowSource
from embrm.heads.linear import Linear
from embrm.heads.mlp import Mlp
from embrm.study.config import parse
from embrm.study.runner.run import run as run_study
from tests.planted import planted
from tests.small_study import on_pool, write_pool

HASHING = get("hashing")(dimension=16)
PROMPTS, RESPONSES = ["why?", "why?", "how?"], ["as", "because", ""]


def written(folder: Path) -> Path:
    rows = [{"prompt": f"p{i // 2}", "chosen": f"good {i} words", "rejected": f"bad {i}"} for i in range(24)]
    (folder / "prefs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder / "prefs.jsonl"


def test_parts_and_what_they_need() -> None:
    assert parts("joint+length") == ("joint", "length")
    assert needed(["joint+length", "crossed", "length"]) == ("joint", "prompt", "response")
    assert needed(["length"]) == ()


@pytest.mark.parametrize("view", ["joint+", "+", "joint+joint", ""])
def test_a_view_of_nothing_or_twice_the_same_is_refused(view: str) -> None:
    with pytest.raises(OptionError, match="a view is made of different views"):
        planted(pairs=20)[0].features.matrix(view)


def test_only_the_vectors_that_are_needed_are_made() -> None:
    made = encode(PROMPTS, RESPONSES, embedder=HASHING, views=("response+length", "response")).features
    assert set(made.views) == {"response"}
    expected = np.column_stack([HASHING.embed(RESPONSES).vectors, np.log([3, 8, 1])])
    np.testing.assert_allclose(made.matrix("response+length"), expected, rtol=1e-6)
    alone = encode(PROMPTS, RESPONSES, embedder=HASHING, views=("length",))
    assert (alone.computed, dict(alone.features.views)) == (0, {})
    np.testing.assert_allclose(alone.features.matrix("length")[:, 0], np.log([3, 8, 1]), rtol=1e-6)
    assert set(encode(PROMPTS, RESPONSES, embedder=HASHING, views=("crossed",)).features.views) == {
        "prompt",
        "response",
    }


def test_a_view_that_is_given_under_a_whole_name_is_taken_as_it_is() -> None:
    x = np.ones((2, 3))
    np.testing.assert_array_equal(Features({"a+b": x}, prompt=np.arange(2)).matrix("a+b"), x)


def test_without_lengths_there_is_no_view_of_them() -> None:
    features = Features({"joint": np.ones((2, 3))}, prompt=np.arange(2))
    with pytest.raises(DataError, match="the view 'length' needs the responses' lengths"):
        features.matrix("joint+length")


def test_rows_of_a_gradient_head_are_those_of_the_matrix() -> None:
    pairs, _ = planted(pairs=20)
    x = pairs.features.matrix("joint")
    features = replace(pairs.features, views={"prompt": x[:, :6], "response": x[:, 6:]})
    source = RowSource.of(features, "response+length+prompt")
    matrix = features.matrix("response+length+prompt")
    assert (len(source), source.shape) == (len(x), matrix.shape)
    np.testing.assert_array_equal(source[2:7], matrix[2:7])
    np.testing.assert_array_equal(source[3], matrix[3])
    np.testing.assert_array_equal(source.gather(torch.tensor([4, 4, 0])), matrix[[4, 4, 0]])
    assert source.key == RowSource.of(replace(features), "response+length+prompt").key  # trained as one batch
    crossed = RowSource.of(features, "crossed+length")
    expected = np.column_stack([x, x[:, :6] * x[:, 6:], features.matrix("length")])
    np.testing.assert_allclose(crossed.gather(torch.arange(len(x))), expected, rtol=1e-6)


def test_an_ensemble_reads_the_views_of_its_members() -> None:
    views = ("joint+length", "response")
    assert Ensemble(base=Mlp(), members=2, diversity="embedder", views=views).reads == views
    assert Ensemble(base=Linear(view="response+length")).reads == ("response+length",)


def test_an_explanation_weighs_columns_of_several_views_by_their_spread() -> None:
    pairs, _ = planted(pairs=60)
    assert pairs.features.length is not None
    features = replace(pairs.features, length=pairs.features.length * 1e9 + 1)
    pairs = replace(pairs, features=features)
    model = Linear(view="joint+length", prior_precision=1.0).fit(pairs, seed=0)
    x = features.matrix("joint+length").astype(np.float64)
    z = x / x[pairs.rows].std(axis=0)
    d = z[pairs.chosen] - z[pairs.rejected]
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    found = model.explain(pairs.take([5]), training=pairs, neighbours=2)[0].neighbours
    assert found[0].pair == 5
    assert found[1].similarity == pytest.approx(float(d[5] @ d[found[1].pair]), abs=1e-4)


def test_from_a_file_through_the_command_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file, view = written(tmp_path), "joint+response+length"
    typed = ["--embedder", "hashing", "--embedder-set", "dimension=16", "--holdout", "0"]
    for more in ([], ["--stream"]):
        folder = f"model{len(more)}"
        assert run(["fit", str(file), "--head", "inform", "--set", f"view={view}", *typed, *more, "-o", folder]) == 0
        model = load_model(folder)
        assert model.widths == {view: 33}
    pairs = read_pairs(file, embedder=HASHING, views=(view,))
    streamed, _ = stream_pairs(file, embedder=HASHING, views=(view,))
    assert set(pairs.features.views) == set(streamed.features.views) == {"joint", "response"}
    texts = read_texts(file)
    scored = Scorer.open("model0").reward(texts)
    expected = load_model("model0").score(
        encode(texts.prompts, texts.responses, embedder=HASHING, views=(view,)).features
    )
    np.testing.assert_allclose(scored.draws, expected.centred().draws, rtol=1e-5)


def test_vectors_made_elsewhere_are_of_one_view(tmp_path: Path) -> None:
    file, x = written(tmp_path), np.random.default_rng(0).normal(size=(48, 4))
    assert read_pairs(file, features=x, views=("joint+length",)).features.matrix("joint+length").shape == (48, 5)
    with pytest.raises(
        OptionError, match="vectors made elsewhere are those of one view, and joint, response are to be"
    ):
        read_pairs(file, features=x, views=("joint+response",))


def test_a_study_embeds_the_views_that_its_data_set_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBRM_CACHE", str(tmp_path / "cache"))
    values = on_pool(write_pool(tmp_path / "lamps.jsonl"), seeds=[0])
    values["datasets"][0]["views"] = ["joint", "response"]
    values["heads"] = [{"name": "linear", "options": {"view": "joint+response+length"}, "tuned": False}]
    found = run_study(parse(values), tmp_path / "run", workers=1)
    assert not found.failures
    assert {row.cell.head for row in found.rows if row.cell.kind == "fit"} == {"linear"}
    values["datasets"][0]["views"] = ["joint"]
    lacking = run_study(parse(values), tmp_path / "other", workers=1)
    assert any("no view 'response' in these features; they have joint" in why for why in lacking.failures.values())


def test_heads_are_named_with_their_views() -> None:
    assert heads.Head.of({"name": "inform", "options": {"view": "joint+response"}}).reads == ("joint+response",)
