"""What a model was trained on: kept through subsets, saving and wrapping, and told where it is judged."""

from __future__ import annotations

import json
import random
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embrm import Candidates, Features, Pairs, Problem, embedders, heads, load_model, read_candidates, read_pairs
from embrm.core.results import State
from embrm.core.seen import TextHashes, TrainingTexts
from embrm.data.stream import stream_pairs
from embrm.data.texts import read_texts
from embrm.errors import DataError
from embrm.evaluation.overlap import TrainedOnWarning, data_overlap, texts_overlap
from embrm.evaluation.reports import PairReport, PoolReport, pair_report, report

HASHING = embedders.get("hashing")(dimension=32)
LINEAR = heads.get("linear")(members=1, prior_precision=1.0)
MLP = heads.get("mlp")(hidden=(4,), epochs=1)
WRAPPERS = {
    "ensemble": heads.get("ensemble")(base=MLP, members=2, diversity="bootstrap"),
    "warm": heads.get("warm")(base=MLP, members=2, epochs=1),
    "ebrm": heads.get("ebrm")(base=MLP, steps=4, negatives=2),
    "brme": heads.get("brme")(trunk=heads.get("mlp")(hidden=(4,), epochs=2), members=2),
    "dropout": heads.get("dropout")(hidden=4, epochs=1),
}


def answer(rng: random.Random) -> str:
    return " ".join(rng.choice("abcdefghijklmnopqrstuvwxyz") * 3 for _ in range(8)) + f" {rng.random():.9f}"


def rows_of(count: int, *, name: str = "q", seed: int = 0) -> list[dict[str, Any]]:
    rng = random.Random(seed)
    return [{"prompt": f"{name} {i // 2}", "chosen": answer(rng), "rejected": answer(rng)} for i in range(count)]


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def read(path: Path, rows: list[dict[str, Any]]) -> Pairs:
    return read_pairs(write(path, rows), embedder=HASHING)


def swapped(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, "chosen": row["rejected"], "rejected": row["chosen"]}


def overlap_of(model: heads.FittedHead, data: Pairs | Candidates) -> dict[str, int]:
    found = data_overlap(model, data)
    assert found is not None
    return found.as_dict()


def test_hashes_differ_where_texts_do_and_the_prompt_counts() -> None:
    found = TextHashes.of(["a", "ab", "", "a", "\ud800"], ["bc", "c", "abc", "bc", "x"])
    assert len(set(found.text[[0, 1, 2, 4]].tolist())) == 4
    assert found.text[0] == found.text[3]
    assert found.prompt[0] == found.prompt[3] != found.prompt[1]
    assert found.prompt[2] == 0
    assert found.text.dtype == found.prompt.dtype == np.uint64


def test_a_seen_set_answers_like_a_set() -> None:
    rng = np.random.default_rng(0)
    texts = TextHashes(*rng.integers(0, 50, size=(2, 40), dtype=np.uint64))
    others = TextHashes(*rng.integers(0, 50, size=(2, 30), dtype=np.uint64))
    seen = TrainingTexts.of(texts)
    known, prompts = set(texts.text.tolist()), set(texts.prompt.tolist()) - {0}
    assert seen.has_text(others).tolist() == [t in known for t in others.text.tolist()]
    assert seen.has_prompt(others).tolist() == [p in prompts for p in others.prompt.tolist()]
    both = TrainingTexts.of(texts) | TrainingTexts.of(others)
    assert set(both.texts.tolist()) == known | set(others.text.tolist())


def test_pairs_seen_unseen_mixed_and_in_either_order(tmp_path: Path) -> None:
    rows = rows_of(40)
    model = LINEAR.fit(read(tmp_path / "train.jsonl", rows), seed=0)
    turned = read(tmp_path / "turned.jsonl", [swapped(row) for row in rows])
    assert overlap_of(model, turned) == {
        "rows": 40,
        "trained_on": 40,
        "other_prompts": 0,
        "other_prompts_trained_on": 0,
    }
    fresh = read(tmp_path / "fresh.jsonl", rows_of(10, name="other", seed=1))
    assert overlap_of(model, fresh) == {
        "rows": 10,
        "trained_on": 0,
        "other_prompts": 5,
        "other_prompts_trained_on": 0,
    }
    said_anew = rows_of(6, seed=2)  # of prompts 0 to 2, which were trained on with other responses
    half = [{**said_anew[0], "chosen": rows[0]["chosen"]}, *said_anew[1:]]  # one of two texts is not enough
    mixed = read(tmp_path / "mixed.jsonl", rows[20:] + half + rows_of(4, name="other", seed=3))
    assert overlap_of(model, mixed) == {
        "rows": 30,
        "trained_on": 20,
        "other_prompts": 5,
        "other_prompts_trained_on": 3,
    }


def test_only_the_pairs_that_were_fitted_count(tmp_path: Path) -> None:
    pairs = read(tmp_path / "pairs.jsonl", rows_of(60))
    train, held = pairs.split(0.3, seed=0)
    for model in LINEAR.fit_many([Problem(train, 0), Problem(train.compact(), 1)]):
        assert overlap_of(model, train)["trained_on"] == len(train)
        assert overlap_of(model, held)["trained_on"] == overlap_of(model, held.compact())["trained_on"] == 0
        assert overlap_of(model, pairs)["trained_on"] == len(train)


@pytest.mark.parametrize("name", WRAPPERS)
def test_wrapping_heads_keep_it_once_and_it_survives_saving(name: str, tmp_path: Path) -> None:
    pairs = read(tmp_path / "pairs.jsonl", rows_of(30))
    train, held = pairs.split(0.3, seed=0)
    model = WRAPPERS[name].fit(train, seed=0)
    assert model.seen is not None
    assert all(child.seen is None for child in model.children().values())
    model.save(tmp_path / "model")
    for kept in (model, load_model(tmp_path / "model")):
        assert overlap_of(kept, train)["trained_on"] == len(train)
        assert overlap_of(kept, held)["trained_on"] == 0


def test_training_further_and_pools_are_remembered_too(tmp_path: Path) -> None:
    pairs = read(tmp_path / "pairs.jsonl", rows_of(30))
    first, second = pairs.split(0.5, seed=0)
    net = MLP.fit(first, seed=0)
    assert isinstance(net, heads.FittedNet)
    assert overlap_of(net.refine(second, seed=0, epochs=1), pairs)["trained_on"] == len(pairs)
    pools = Candidates(second.features, np.arange(0, len(second.features) + 1, 2))
    (model,) = MLP.fit_many([Problem(first, 0, pools=pools)])
    assert overlap_of(model, pools)["trained_on"] == len(pools)


def test_blocks_given_vectors_and_other_layouts_give_the_same_hashes(tmp_path: Path) -> None:
    rows = rows_of(30)
    pairs = read(tmp_path / "pairs.jsonl", rows)
    model = LINEAR.fit(pairs, seed=0)
    streamed, _ = stream_pairs(tmp_path / "pairs.jsonl", embedder=HASHING, size=7)
    vectors = np.random.default_rng(0).normal(size=(60, 32))
    given = read_pairs(tmp_path / "pairs.jsonl", features=vectors)
    said = [
        {
            "chosen": [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["chosen"]}],
            "rejected": [{"role": "user", "content": row["prompt"]}, {"role": "assistant", "content": row["rejected"]}],
        }
        for row in rows
    ]
    for other in (streamed, given, read(tmp_path / "messages.jsonl", said)):
        assert overlap_of(model, other)["trained_on"] == 30
        fitted = LINEAR.fit(other, seed=0)
        assert fitted.seen is not None
        assert model.seen is not None
        np.testing.assert_array_equal(fitted.seen.texts, model.seen.texts)
        np.testing.assert_array_equal(fitted.seen.prompts, model.seen.prompts)


def test_nothing_is_said_where_texts_are_not_known(tmp_path: Path) -> None:
    pairs = read(tmp_path / "pairs.jsonl", rows_of(30))
    bare = replace(pairs, features=replace(pairs.features, hashes=None))
    model = LINEAR.fit(bare, seed=0)
    assert model.seen is None
    assert data_overlap(model, pairs) is None
    assert data_overlap(LINEAR.fit(pairs, seed=0), bare) is None
    assert texts_overlap(model, read_texts(tmp_path / "pairs.jsonl")) is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = report(model, pairs, seed=0)
    assert "training" not in found.as_dict()


def test_the_report_of_pairs_has_one_of_the_unseen_beside_it(tmp_path: Path) -> None:
    pairs = read(tmp_path / "pairs.jsonl", rows_of(120))
    train, held = pairs.split(0.3, seed=0)
    model = LINEAR.fit(train, seed=0)
    with pytest.warns(TrainedOnWarning, match=f"trained on {len(train)} of these 120 pairs.*others are reported apart"):
        found = report(model, pairs, seed=0)
    assert isinstance(found, PairReport)
    assert found.unseen is not None
    alone = pair_report(model.score(held.features), held, seed=0)
    assert found.unseen.as_dict() == alone.as_dict()
    assert found.accuracy.estimate > alone.accuracy.estimate + 0.1  # random labels, of which the seen are learnt
    with pytest.warns(TrainedOnWarning, match="says little about others$"):
        assert report(model, train, seed=0).unseen is None
    ties = replace(pairs, tie=np.isin(pairs.prompt, held.prompt))
    with pytest.warns(TrainedOnWarning, match="trained on"):
        assert report(model, ties, seed=0).unseen is None  # nothing but ties is left


def test_prompts_of_training_with_other_responses_are_a_warning_of_their_own(tmp_path: Path) -> None:
    model = LINEAR.fit(read(tmp_path / "train.jsonl", rows_of(40)), seed=0)
    again = read(tmp_path / "again.jsonl", rows_of(20, seed=9) + rows_of(4, name="other", seed=8))
    with pytest.warns(TrainedOnWarning, match="^10 of 12 prompts of these pairs were in the training of the model"):
        found = report(model, again, seed=0)
    assert found.unseen is None


def test_pools_with_a_text_of_the_training_are_reported_apart(tmp_path: Path) -> None:
    rows, rng = rows_of(20), random.Random(5)
    model = LINEAR.fit(read(tmp_path / "train.jsonl", rows), seed=0)
    pools = [
        {"prompt": f"new {i}", "responses": [answer(rng) for _ in range(3)], "gold": [rng.random() for _ in range(3)]}
        for i in range(8)
    ]
    for row, pool in zip(rows[::2], pools[:3], strict=False):
        pool |= {"prompt": row["prompt"], "responses": [*pool["responses"][:2], row["rejected"]]}
    data = read_candidates(write(tmp_path / "pools.jsonl", pools), embedder=HASHING)
    with pytest.warns(TrainedOnWarning, match="trained on 3 of these 8 pools"):
        found = report(model, data, seed=0)
    assert isinstance(found, PoolReport)
    assert isinstance(found.unseen, PoolReport)
    others = report(model, data.take(np.arange(3, 8)), seed=0)
    assert others.unseen is None
    assert isinstance(others, PoolReport)
    assert found.unseen.prompts == others.prompts == 5
    for part in ("estimate", "low", "high"):
        mine, theirs = (getattr(each.reward["gold"], part) for each in (found.unseen, others))
        np.testing.assert_allclose(mine, theirs)
    with pytest.warns(TrainedOnWarning, match="trained on 3 of these 4 pools"):
        assert report(model, data.take(np.arange(4)), seed=0).unseen is None  # one pool is no curve


def test_texts_are_taken_by_rows(tmp_path: Path) -> None:
    pools = [{"id": f"p{i}", "prompt": f"q{i}", "responses": [f"a{i}{j}" for j in range(i + 1)]} for i in range(4)]
    texts = read_texts(write(tmp_path / "pools.jsonl", pools))
    some = texts.take(np.array([False, True, False, True]))
    assert some.responses == ["a10", "a11", "a30", "a31", "a32", "a33"]
    assert some.prompts == ["q1"] * 2 + ["q3"] * 4
    assert some.offsets.tolist() == [0, 2, 6]
    assert some.names[0] == ("p1", 0)
    assert some.names[-1] == ("p3", 3)


def test_a_damaged_record_of_training_texts_is_refused(tmp_path: Path) -> None:
    state = LINEAR.fit(read(tmp_path / "pairs.jsonl", rows_of(10)), seed=0).state()
    texts, prompts = state.arrays["seen_texts"], state.arrays["seen_prompts"]
    wrongs: tuple[Any, ...] = (texts[::-1], texts.astype(np.int64), texts[:, None])
    for wrong in wrongs:
        with pytest.raises(DataError, match="must be sorted hashes"):
            heads.restore(State(state.config, {**state.arrays, "seen_texts": wrong}))
    alone = {name: array for name, array in state.arrays.items() if name != "seen_texts"}
    with pytest.raises(DataError, match="seen_texts and seen_prompts must be"):
        heads.restore(State(state.config, alone))
    np.testing.assert_array_equal(TrainingTexts.read(state.arrays).prompts, prompts)  # type: ignore[union-attr]


def test_hashes_of_too_few_texts_are_refused() -> None:
    with pytest.raises(DataError, match="hashes must be of all 3 rows, got those of 2"):
        Features({"joint": np.eye(3)}, prompt=np.arange(3), hashes=TextHashes.of(["a", "b"], ["c", "d"]))


def test_the_card_says_what_is_kept(tmp_path: Path) -> None:
    pairs = read(tmp_path / "pairs.jsonl", rows_of(10))
    LINEAR.fit(pairs, seed=0).save(tmp_path / "model")
    assert "hashes of its 20 training texts and 5 prompts" in (tmp_path / "model" / "README.md").read_text()
    bare = replace(pairs, features=replace(pairs.features, hashes=None))
    LINEAR.fit(bare, seed=0).save(tmp_path / "bare")
    assert "hashes" not in (tmp_path / "bare" / "README.md").read_text()


def test_of_a_pair_at_most_two_texts_and_a_prompt_of_eight_bytes_are_kept() -> None:
    rng = np.random.default_rng(0)
    text = rng.integers(1, 2**63, size=200_000, dtype=np.uint64)
    seen = TrainingTexts.of(TextHashes(text, np.repeat(text[::2], 2)))
    assert sum(array.nbytes for array in seen.arrays().values()) <= 24 * 100_000
    changed = text[:1000].copy()
    changed[1::2] += np.uint64(1)
    some = TextHashes(changed, text[:1000])
    assert seen.has_text(some)[::2].all()
    assert not seen.has_text(some)[1::2].any()
