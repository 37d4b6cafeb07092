"""`embrm rewardbench` on files of both versions, and on what is none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Result, write_lines

Run = Callable[..., Result]


def test_version_1_against_the_commands_own_scores(embrm: Run) -> None:
    scored = [json.loads(line)["score"] for line in embrm("score", "model", "prefs.jsonl").out.splitlines()]
    accuracy = sum(a > b for a, b in zip(scored[0::2], scored[1::2], strict=True)) / (len(scored) // 2)
    found = embrm("rewardbench", "rewardbench.jsonl", "--model", "model", "--json")
    assert found.code == 0, found.err
    report = found.json["report"]
    assert (report["version"], report["rows"], report["prompts"]) == (1, 80, 40)
    assert list(report["scores"]) == ["model", "length"]
    assert report["scores"]["model"]["Safety"]["estimate"] == pytest.approx(accuracy)
    assert report["scores"]["model"]["Safety"]["low"] <= accuracy <= report["scores"]["model"]["Safety"]["high"]
    assert report["differences"]["length"]["p_value"] < 0.01
    text = embrm("rewardbench", "rewardbench.jsonl", "--model", "model", "--model", "scored.jsonl")
    assert (text.code, "scored.jsonl" in text.err) == (1, True)


def test_two_models_on_version_2(embrm: Run, workspace: Path) -> None:
    rows = [
        {
            "id": f"q{i}",
            "prompt": f"How do I mend fan {i}?",
            "chosen": ["correct clear useful precise"],
            "rejected": ["wrong vague", "never maybe nothing", "useless broken"],
            "subset": "Math" if i % 2 else "Focus",
        }
        for i in range(12)
    ]
    write_lines(workspace / "second.jsonl", rows)
    fit = ["fit", "prefs.jsonl", "--head", "linear", "--embedder", "hashing", "--embedder-set", "dimension=64"]
    assert embrm(*fit, "-o", "other").code == 0
    found = embrm("rewardbench", "second.jsonl", "--model", "model", "--model", "other")
    assert found.code == 0, found.err
    assert found.out.startswith("RewardBench 2: 12 rows of 12 prompts\n%")
    assert "other minus model: 0 (0 … 0); 0 rows gained, 0 lost, McNemar p = 1" in found.out
    assert "no rows of Factuality, Precise IF, Safety, Ties" in found.out


def test_a_file_of_another_kind(embrm: Run) -> None:
    found = embrm("rewardbench", "pools.jsonl", "--model", "model")
    assert (found.code, "line 1 has no 'chosen'" in found.err) == (1, True)


def test_rows_that_the_model_was_trained_on_are_told_and_the_others_reported_apart(embrm: Run) -> None:
    found = embrm("rewardbench", "rewardbench.jsonl", "--model", "model", "--json")
    assert found.json["training"]["model"]["trained_on"] == 64
    assert found.json["unseen"]["rows"] == 16
    held = embrm("evaluate", "model", "prefs.jsonl", "--json")
    assert held.json["training"]["trained_on"] == 64
    assert held.json["unseen"]["pairs"] == 16
    config = json.loads(Path("model/config.json").read_text())
    measured = config["record"]["held_out"]["accuracy"]["estimate"]
    assert held.json["unseen"]["accuracy"]["estimate"] == pytest.approx(measured)
    overall = found.json["unseen"]["scores"]["model"]["overall"]["estimate"]
    assert overall == pytest.approx(measured)
    assert "model was trained on 64 of these 80 rows" in found.err
    text = embrm("evaluate", "model", "prefs.jsonl")
    assert "not trained on: 16 pairs of 8 prompts" in text.out
    assert "rows that no model was trained on:" in embrm("rewardbench", "rewardbench.jsonl", "--model", "model").out
