"""Several annotators and inferred rewards on the command line, from files to choices."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from embrm import load_model
from tests.cli.conftest import Result, write_lines

Run = Callable[..., Result]
HASHING = ("--embedder", "hashing")


def test_annotators_from_votes_to_a_choice(embrm: Run) -> None:
    assert load_model("annotators").record["annotators"][0]["name"] == "a"
    told = embrm("annotators", "annotators", "votes.jsonl", "--json").json["accuracy"]
    assert [(row["name"], row["pairs"]) for row in told] == [("a", 40), ("b", 40)]
    assert min(row["own"] for row in told) > 0.8
    assert embrm("score", "annotators", "pools.jsonl", "-o", "of_each.jsonl").code == 0
    chosen = [
        embrm("select", source, "pools.jsonl", "--selector", "egalitarian", "--set", "weight=1").out
        for source in ("annotators", "of_each.jsonl")
    ]
    index = [[json.loads(line)["index"] for line in lines.splitlines()] for lines in chosen]
    assert index[0] == index[1]  # saved scores know whose they are
    found = embrm("annotators", "of_each.jsonl", "pools.jsonl", "--selector", "nash:weight=1", "--json").json
    assert found["names"] == ["a", "b"]
    assert len(found["gain"]) == 2
    assert "preferred by" in embrm("annotators", "annotators", "pools.jsonl").out


def test_annotators_that_are_missing_are_told(embrm: Run) -> None:
    lost = embrm("fit", "prefs.jsonl", "--head", "linear", "--by", "annotator", *HASHING, "-o", "m")
    assert (lost.code, "no row of prefs.jsonl names an annotator" in lost.err) == (1, True)
    rows = [json.loads(line) for line in Path("votes.jsonl").read_text().splitlines()]
    write_lines(Path("one.jsonl"), [*rows, {**rows[0], "chosen": "yes", "rejected": "no", "annotator": "c"}])
    one = embrm("fit", "one.jsonl", "--head", "linear", "--by", "annotator", *HASHING, "--holdout", "0", "-o", "m")
    assert (one.code, "'c' (1)" in one.err) == (1, True)
    scores = embrm("annotators", "scores.jsonl", "votes.jsonl")
    assert (scores.code, "holds scores; pairs are ordered by a model" in scores.err) == (2, True)
    write_lines(Path("bad.jsonl"), [{"id": f"q{i}", "index": j, "score": 0.0, "draws": [0.0, 1.0], "annotator": 3}
                                    for i in range(20) for j in range(6)])  # fmt: skip
    assert "annotator must name whose each draw is, got 3" in embrm("annotators", "bad.jsonl", "pools.jsonl").err


def test_a_reward_is_inferred_and_used(embrm: Run) -> None:
    result = embrm("infer", "tuned.jsonl", "base.jsonl", *HASHING, "-o", "inferred", "--restarts", "3", "--json")
    assert result.code == 0, result.err
    assert result.json["outputs"] == [60, 60]
    assert max(result.json["explained"]) > 0.1
    assert load_model("inferred").record["inferred"]["kept"] == result.json["kept"]
    told = embrm("evaluate", "inferred", "prefs.jsonl", "--json").json  # what was tuned for good words likes them
    assert told["accuracy"]["estimate"] > 0.8
    margin = ("--head", "max_margin", "--set", "iterations=5", "--restarts", "2")
    assert "agreement of the kept" in embrm("infer", "tuned.jsonl", "base.jsonl", *HASHING, *margin, "-o", "m").out


def test_outputs_that_explain_nothing_are_told(embrm: Run) -> None:
    def said(*files: str) -> str:
        result = embrm("infer", *files, *HASHING, "-o", "m")
        assert result.code == 1
        return result.err

    assert "the tuned outputs are the base outputs" in said("base.jsonl", "base.jsonl")
    assert "must answer the same prompts: 20 of 20 tuned prompts" in said("tuned.jsonl", "pools.jsonl")
    assert "prefs.jsonl has pairs; give the outputs of one policy" in said("prefs.jsonl", "base.jsonl")
