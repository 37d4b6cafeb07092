"""Layouts: each example is known by one sniffer alone, and gives the texts that its convention says."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embrm.data import RowRules, read_pairs
from embrm.data.faults import ReadingWarning
from embrm.data.layouts import get, names
from embrm.data.prompts import read_prompts
from embrm.data.texts import read_texts
from embrm.data.write import common_rows, write_any
from embrm.embedders import get as embedder
from embrm.errors import DataError, OptionError, UnknownNameError

Row = dict[str, Any]


def file(folder: Path, *rows: Row, name: str = "rows.jsonl") -> Path:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder / name


def read(folder: Path, *rows: Row, kind: str | None = None, **how: Any) -> tuple[list[str], list[str]]:
    texts = read_texts(file(folder, *rows), kind=kind, rules=RowRules(**how))
    return texts.prompts, texts.responses


@pytest.mark.parametrize("name", names())
def test_an_example_is_known_by_its_own_sniffer_alone_and_gives_all_that_it_says(name: str, tmp_path: Path) -> None:
    layout = get(name)()
    for kind in (None, *layout.kinds):
        texts = read_texts(file(tmp_path, *layout.example), kind=kind)
        assert texts.account["layout"] == name
        assert texts.kind == (kind or layout.kinds[0])
        assert len(texts) > 0
    assert read_texts(file(tmp_path, *layout.example), rules=RowRules(layout=name)).account["layout"] == name


@pytest.mark.parametrize("name", [n for n in names() if "pairs" in get(n)().kinds])
@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_converted_pairs_read_as_the_raw_ones(name: str, suffix: str, tmp_path: Path) -> None:
    raw = read_texts(file(tmp_path, *get(name)().example), kind="pairs", rules=RowRules(columns={"margin": "gap"}))
    write_any(tmp_path / f"out{suffix}", common_rows(raw))
    again = read_texts(tmp_path / f"out{suffix}")
    assert (again.prompts, again.responses) == (raw.prompts, raw.responses)
    for column in ("margin", "tie", "weight"):
        assert [r.get(column) or 0 for r in again.rows.values] == [r.get(column) or 0 for r in raw.rows.values]


@pytest.mark.parametrize(
    "row",
    [
        {"question": "p", "chosen": "a", "rejected": "b"},
        {"instruction": "p", "input": "", "chosen": "a", "rejected": "b"},
        {"system": "Be brief.", "query": "p", "chosen": "a", "rejected": "b"},
        {"query": "p", "response": "a", "rejected_response": "b"},
        {
            "messages": [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}],
            "rejected_response": "b",
        },
        {"history": "p", "human_ref_A": "b", "human_ref_B": "a", "labels": 0},
        {"prompt": "p", "response_0": "b", "response_1": "a", "better_response_id": 1},
        {"prompt": "p", "response_a": "a", "response_b": "b", "winner": "model_a"},
        {
            "prompt": "p",
            "response_a": "b",
            "response_b": "a",
            "winner_model_a": 0,
            "winner_model_b": 1,
            "winner_tie": 0,
        },
        {"instruction": "p", "output_1": "b", "output_2": "a", "preference": 2},
        {"prompt": "p", "response1": "a", "response2": "b", "overall_preference": -1},
        {"prompt": "p", "response_1": "b", "response_2": "a", "preference_strength": "2"},
        {"prompt": "p", "completions": [{"response": "b", "score": 1}, {"response": "a", "score": "4"}]},
        {"prompt": "p", "answers": [{"answer": "b", "rank": 2.0}, {"answer": "a", "rank": 1.0}]},
        {"prompt": "p", "responses": ["b", "a"], "ranking": [1, 0]},
        {"context": "p", "response1": "a", "response2": "b", "individual_preference": [{"score": -2}]},
        {"question": "p", "answer_a": "b", "answer_b": "a", "votes": {"ann": "answer_b"}},
    ],
)
def test_every_convention_names_the_better_response(row: Row, tmp_path: Path) -> None:
    assert read(tmp_path, row, kind="pairs") == (["p", "p"], ["a", "b"])


def votes(folder: Path, **columns: Any) -> list[tuple[str, str, bool]]:
    row = {"prompt": "p", "response_1": "a", "response_2": "b", **columns}
    texts = read_texts(file(folder, row))
    assert texts.account["layout"] == "voted"
    better = texts.responses[::2]
    return [(r["annotator"], c, bool(r.get("tie"))) for r, c in zip(texts.rows.values, better, strict=True)]


def test_each_annotator_s_vote_is_a_pair_of_its_own(tmp_path: Path) -> None:
    expected = [("1", "a", False), ("2", "b", False), ("3", "a", True)]
    assert votes(tmp_path, votes=[1, "2", "tie"]) == expected
    assert votes(tmp_path, annotations=[{"choice": 1}, {"preference": "response_2"}, {"label": "tie"}]) == expected
    assert votes(tmp_path, individual_preference=[{"score": -1}, {"score": 3}, {"score": 0}]) == expected
    named = [{"annotator": who, "vote": 1, "winner": vote} for who, vote in (("x", "1"), ("y", "2"))]
    assert votes(tmp_path, annotations=named) == [("x", "a", False), ("y", "b", False)]
    columns = {"annotator1": 1, "annotator2": 2, "annotator3": 0}
    assert votes(tmp_path, **columns) == [(f"annotator{who}", *rest) for who, *rest in expected]
    rows = common_rows(read_texts(tmp_path / "rows.jsonl"))
    assert [(row["annotator"], row["id"]) for row in rows] == [(f"annotator{i}", f"1/annotator{i}") for i in (1, 2, 3)]
    settled = {"context": "p", "response1": "a", "response2": "b", "overall_preference": 1}
    both = settled | {"individual_preference": [{"score": -1}, {"score": 2}, {"score": 2}]}
    assert read_texts(file(tmp_path, both)).responses == ["b", "a"]
    rules = RowRules(columns={"overall_preference": ""})
    assert read_texts(file(tmp_path, both), rules=rules).responses == ["a", "b", "b", "a", "b", "a"]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"votes": [7]}, "line 1: the vote of 1 must be 1, 2 or tie .*got 7"),
        ({"votes": [{"reason": "x"}]}, "the vote of 1 must be a choice or a score"),
        ({"annotations": [{"annotator": "x", "choice": 1}, {"annotator": "x", "choice": 2}]}, "'x' votes twice"),
        ({"votes": [None]}, "nobody voted"),
        ({"votes": [1], "annotations": [1]}, "votes are in votes and annotations; leave one: --columns annotations="),
    ],
)
def test_votes_that_say_nothing_are_named(columns: Row, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        votes(tmp_path, **columns)


@pytest.mark.parametrize(
    ("row", "kind", "message"),
    [
        (
            {"question_id": 81, "choices": [{"turns": ["a"]}], "model_id": "m"},
            None,
            "answers of MT-Bench.*join both by",
        ),
        ({"question_id": 81, "choices": [{"turns": ["a"]}], "model_id": "m"}, "pools", "answers of MT-Bench"),
        ({"question_id": 81, "turns": ["a"], "category": "math"}, None, "questions of MT-Bench.*join both by"),
        ({"id": 1, "prompt": "p"}, None, "prompts and no responses; `embrm generate` writes some"),
        ({"question": "p", "source": "x"}, None, "questions and no responses"),
        (
            {"instruction": "p", "input": "", "output": "a"},
            None,
            "read the output as a response by --columns response=o",
        ),
        ({"prompt": "p", "first": "a", "second": "b"}, None, "neither the columns of pairs"),
    ],
)
def test_half_of_something_is_told_where_the_other_half_is(
    row: Row, kind: str | None, message: str, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, row, kind=kind)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "p"},
        {"prompt": "p", "chosen": "a", "rejected": "b"},
        {"question": "p"},
        {"instruction": "p", "input": None, "output": "a"},
        {"conversations": [{"from": "human", "value": "p"}, {"from": "gpt", "value": "a"}]},
        {"messages": [{"role": "user", "content": "p"}]},
        {"context": [{"role": "user", "content": "p"}], "response1": "a", "response2": "b"},
        {"history": "p", "human_ref_A": "a"},
    ],
)
def test_prompts_are_found_under_any_of_their_names(row: Row, tmp_path: Path) -> None:
    ids, prompts = read_prompts(file(tmp_path, row, {**row, "id": "b"}))
    assert ids == ["1", "b"]
    assert prompts in (["p", "p"], [[{"role": "user", "content": "p"}]] * 2)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (
            {"question": "p", "query": "q"},
            "the prompt can be in question or query; say which: --columns prompt=question",
        ),
        ({"messages": "p", "history": "q"}, "in messages or history; say which: --columns prompt=messages or"),
        ({"messages": [{"role": "assistant", "content": "a"}]}, "prompt holds only what an assistant says"),
        ({"text": "p"}, "has no 'prompt'; found: text"),
    ],
)
def test_prompts_that_cannot_be_told_are_refused(row: Row, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_prompts(file(tmp_path, row))


def said(*texts: str, **more: Any) -> list[Row]:
    return [{"role": ("user", "assistant")[i % 2], "content": text, **more} for i, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("prompt", "chosen", "rejected", "expected"),
    [
        ("p", said("p", "a"), said("p", "b"), ("p", "a", "b")),
        (said("p"), said("p", "a"), said("p", "b"), ("p", "a", "b")),
        ("", said("p", "a"), said("p", "b"), ("p", "a", "b")),
        (None, said("p ", "a"), said("p", "b", id=3), ("p", "a", "b")),
        (None, said("p", "a", "q", "c"), said("p", "a"), ("p", "assistant: a\n\nuser: q\n\nassistant: c", "a")),
        (None, json.dumps(said("p", "a")), json.dumps(said("p", "b")), ("p", "a", "b")),
        ("p", said("p", "a"), said("", "b")[1:], ("p", "a", "b")),
        ("Human: p\n\nAssistant:", "Human: p\n\nAssistant: a", "Human: p\n\nAssistant: b", None),
    ],
)
def test_a_prompt_is_taken_once(prompt: Any, chosen: Any, rejected: Any, expected: Any, tmp_path: Path) -> None:
    expected = expected or ("Human: p\n\nAssistant:", "a", "b")
    prompts, responses = read(tmp_path, {"prompt": prompt, "chosen": chosen, "rejected": rejected})
    assert (prompts[0], *responses) == expected


def test_pools_of_whole_conversations_are_pools_of_answers(tmp_path: Path) -> None:
    row = {"prompt": "p", "responses": [said("p", "a"), said("p", "b")]}
    assert read(tmp_path, row) == (["p", "p"], ["a", "b"])


def test_a_prompt_of_something_else_is_told(tmp_path: Path) -> None:
    row = {"prompt": "other", "chosen": said("p", "a"), "rejected": said("p", "b")}
    with pytest.raises(DataError, match=r"line 1: prompt is not how the conversations .*--columns prompt="):
        read(tmp_path, row)
    assert read(tmp_path, row, columns={"prompt": ""}) == (["p", "p"], ["a", "b"])


RATED = [
    {"prompt": "p", "response": text, "helpfulness": rating, "verbosity": 1}
    for text, rating in (("a", 4), ("b", 1), ("c", "N/A"), ("d", 1))
]


def test_ratings_become_pairs_and_pools_by_the_one_that_was_chosen(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"several ratings \(helpfulness, verbosity\).*--columns rating=helpfulness"):
        read(tmp_path, *RATED, kind="pairs")
    columns = {"rating": "helpfulness"}
    with pytest.warns(ReadingWarning, match="1 responses without a rating"):
        texts = read_texts(file(tmp_path, *RATED), kind="pairs", rules=RowRules(columns=columns))
    pairs = list(zip(texts.responses[::2], texts.responses[1::2], strict=True))
    assert pairs == [("a", "b"), ("a", "d"), ("b", "d")]
    assert [row["tie"] for row in texts.rows.values] == [0, 0, 1]
    with pytest.warns(ReadingWarning, match="1 responses without a rating"):
        pool = read_texts(file(tmp_path, *RATED), kind="judged", rules=RowRules(columns=columns))
    assert (pool.responses, pool.rows.values[0]["gold"]) == (["a", "b", "d"], [4, 1, 1])
    assert read_texts(file(tmp_path, *RATED)).kind == "texts"


def test_which_ratings_are_compared(tmp_path: Path) -> None:
    row = {"prompt": "p", "responses": ["a", "b", "c"], "ratings": [1, 3, 2]}
    found = {compare: read(tmp_path, row, kind="pairs", compare=compare)[1] for compare in ("all", "best", "adjacent")}
    assert found == {
        "all": [*"bacabc"],
        "best": [*"babc"],
        "adjacent": [*"cabc"],
    }
    texts = read_texts(file(tmp_path, row), kind="pairs", rules=RowRules(least_gap=1, columns={"margin": "gap"}))
    assert [(r["tie"], r["margin"]) for r in texts.rows.values] == [(0, 2), (1, 0), (1, 0)]


def test_systems_outputs_make_pools(tmp_path: Path) -> None:
    for system in "mn":
        rows = [{"instruction": q, "output": f"{q}{system}", "generator": system} for q in "pq"]
        (tmp_path / f"{system}.json").write_text(json.dumps(rows))
    for source in (tmp_path, f"{tmp_path}/*.json"):
        texts = read_texts(source)
        assert (texts.prompts, texts.responses) == (["p", "p", "q", "q"], ["pm", "pn", "qm", "qn"])
        assert [row["policy"] for row in texts.rows.values] == [["m", "n"], ["m", "n"]]


@pytest.mark.parametrize(
    ("rows", "how", "error", "message"),
    [
        (({"question": "p", "query": "p", "chosen": "a", "rejected": "b"},), {}, DataError, "question or query; say"),
        (
            ({"prompt": "p", "response_0": "a", "response_1": "b", "better_response_id": 0, "safer_response_id": 1},),
            {},
            DataError,
            "told by better_response_id and safer_response_id; choose: --columns better=better_response_id or",
        ),
        (
            ({"prompt": "p", "chosen": "a", "rejected": "b", "responses": ["a"]},),
            {},
            DataError,
            "can be read as pairs or as pools; say which: --layout pairs or --layout pools",
        ),
        (({"a": 1},), {"columns": {"chosen": "winner"}}, OptionError, "has no column 'winner'; found: a"),
        (({"prompt": "p", "chosen": "a", "rejected": "b"},), {"layout": "shp"}, DataError, "not the columns of the"),
        (({"prompt": "p", "chosen": "a", "rejected": "b"},), {"layout": "sph"}, UnknownNameError, "mean 'shp'"),
        (
            ({"prompt": "p", "response_0": "a", "response_1": "b", "better_response_id": 0.5},),
            {},
            DataError,
            "line 1: better_response_id must be 0, 1 or tie .*got 0.5",
        ),
        (({"history": "p", "human_ref_A": "a", "human_ref_B": "b", "labels": 2},), {}, DataError, "labels must be 1"),
        (({"history": "p", "human_ref_A": "a", "human_ref_B": "b", "labels": "x"},), {}, DataError, "whole number"),
        (({"prompt": True, "chosen": "a", "rejected": "b"},), {}, DataError, "prompt must be text .*got True"),
        (({"prompt": "p", "chosen": "a", "rejected": "b", "margin": 10**400},), {}, DataError, "finite number, got 1"),
    ],
)
def test_what_is_ambiguous_or_wrong_is_refused_with_the_way_out(
    rows: tuple[Row, ...], how: Row, error: type[Exception], message: str, tmp_path: Path
) -> None:
    with pytest.raises(error, match=message):
        read(tmp_path, *rows, **how)
    if "layout pairs" in message:
        assert read(tmp_path, *rows, layout="pairs") == (["p", "p"], ["a", "b"])


def test_columns_are_renamed_left_out_and_subtracted(tmp_path: Path) -> None:
    row = {"ask": "p", "winner": "a", "loser": "b", "chosen-rating": 5, "rejected-rating": 2}
    columns = {"prompt": "ask", "chosen": "winner", "rejected": "loser", "margin": "chosen-rating-rejected-rating"}
    pairs = read_pairs(file(tmp_path, row), embedder=embedder("hashing")(dimension=64), columns=columns)
    np.testing.assert_array_equal(pairs.margin, [3])
    with pytest.warns(ReadingWarning, match="chosen-rating and rejected-rating are not used; --columns margin=ch"):
        read(tmp_path, row, columns={k: v for k, v in columns.items() if k != "margin"})


MARGINS = (None, "", "N/A", "0.5")


def test_missing_numbers_stand_for_nothing_in_whatever_way_they_are_missing(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "chosen": f"a{i}", "rejected": "b", "margin": m} for i, m in enumerate(MARGINS)]
    (tmp_path / "x.jsonl").write_text(
        "".join(json.dumps(r) + "\n" for r in rows) + '{"prompt": "p", "chosen": "x", "rejected": "y", "margin": NaN}'
    )
    pairs = read_pairs(tmp_path / "x.jsonl", embedder=embedder("hashing")(dimension=64))
    np.testing.assert_array_equal(pairs.margin, [0, 0, 0, 0.5, 0])


def test_a_misspelt_prompt_is_told_and_never_ignored(tmp_path: Path) -> None:
    rows = [{"promt": f"Why {i}?", "chosen": f"So {i}.", "rejected": f"No {i}."} for i in range(3)]
    file = tmp_path / "prefs.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with pytest.raises(DataError, match="has no column 'prompt', and 'promt' looks like it; say so by --columns"):
        read_texts(file)
    read = read_texts(file, rules=RowRules(columns={"prompt": "promt"}))
    assert read.prompts == [f"Why {i}?" for i in range(3) for _ in range(2)]
