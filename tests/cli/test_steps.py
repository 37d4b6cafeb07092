"""Labelled steps from a file to a table: layouts, `fit --steps`, `evaluate`, and what is refused."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embrm import Features, load_model
from embrm.cli import run
from embrm.core.results import Reward
from embrm.core.traces import StepTraces
from embrm.data import read_texts, read_traces
from embrm.data.faults import RowRules
from embrm.errors import DataError, OptionError
from embrm.evaluation.steps import fit_and_check_steps, step_report
from embrm.heads.linear import Linear

RIGHT = ["measure the board twice", "mark the line with a pencil", "clamp it to the bench", "wear goggles"]
WRONG = ["cut towards your hand", "hold it with your knee"]
Rows = list[dict[str, Any]]


def write(path: Path, rows: Rows) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


def first_errors(*, prompts: int = 40, seed: int = 0) -> Rows:
    """Return traces of one step or more, half of them with a wrong one, annotated by its number."""
    rng = random.Random(seed)
    rows = []
    for i in range(prompts):
        for j in range(3):
            steps = [f"{rng.choice(RIGHT)} {i}" for _ in range(rng.randint(1, 4))]
            label = rng.randrange(len(steps)) if rng.random() < 0.5 else -1
            if label >= 0:
                steps[label] = f"{rng.choice(WRONG)} {i}"
            rows.append({"id": f"{i}-{j}", "problem": f"How do I saw board {i}?", "steps": steps, "label": label})
    return rows


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBRM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("head", ["linear", "inform"])
def test_from_a_first_error_file_to_a_table(head: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, other = write(tmp_path / "t.jsonl", first_errors()), write(tmp_path / "o.jsonl", first_errors(seed=1))
    fit = ["fit", file, "--steps", "--head", head, "-o", "model", "--embedder", "hashing", "--holdout", "0.3"]
    assert run(fit) == 0
    told = capsys.readouterr().out
    assert "read as first_error" in told
    assert "errors located" in told
    model = load_model("model")
    assert model.head.learns_steps
    assert model.record["data"]["traces"] == 120
    assert model.record["held_out"]["f1"]["estimate"] > 0.7
    assert run(["evaluate", "model", other, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["traces"] == 120
    assert found["f1"]["estimate"] > 0.7
    assert found["auroc"]["min"] > 0.9
    assert found["auroc"]["min"] > found["auroc"]["max"]


def test_the_layouts_say_the_same(tmp_path: Path) -> None:
    rows = first_errors(prompts=4)

    def labels(row: dict[str, Any]) -> list[bool | None]:
        error, n = row["label"], len(row["steps"])
        return [True] * n if error < 0 else [*([True] * error), False, *([None] * (n - error - 1))]

    trl: Rows = [{"prompt": row["problem"], "completions": row["steps"], "labels": labels(row)} for row in rows]
    prm: Rows = []
    for row in rows:
        rated = [
            {
                "completions": [
                    {"text": "no", "rating": -1},
                    {"text": text, "rating": None if ok is None else 2 * ok - 1},
                ]
            }
            for text, ok in zip(row["steps"], labels(row), strict=True)
        ]
        steps = [{**step, "chosen_completion": 1} for step in rated]
        prm.append({"question": {"problem": row["problem"]}, "label": {"steps": steps}})
    prm[0]["label"]["steps"][0] = {"human_completion": {"text": rows[0]["steps"][0]}, "completions": None}
    prm[0]["label"]["steps"][0]["human_completion"]["rating"] = (
        None if labels(rows[0])[0] is None else (1 if labels(rows[0])[0] else -1)
    )
    read = [read_traces(write(tmp_path / f"{i}.jsonl", r), embedder="hashing") for i, r in enumerate((rows, trl, prm))]
    first = read[0]
    assert first.first_error.tolist() == [row["label"] for row in rows]
    for other in read[1:]:
        np.testing.assert_array_equal(other.labels, first.labels)
        np.testing.assert_array_equal(other.features.matrix("joint"), first.features.matrix("joint"))
        np.testing.assert_array_equal(other.offsets, first.offsets)
    texts = read_texts(tmp_path / "0.jsonl")
    assert texts.responses[: first.offsets[1]][-1] == "\n".join(rows[0]["steps"])


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "p", "steps": ["a"], "label": 1}, "the first wrong step must be a number from 0 to 0, or -1"),
        ({"prompt": "p", "steps": ["a"], "label": "x"}, "label must be a whole number, got 'x'"),
        ({"prompt": "p", "steps": ["a", " "], "label": 0}, "steps must be a list of at least one text, none of them"),
        ({"prompt": "p", "completions": ["a", "b"], "labels": [True]}, "labels must have one entry for each of the 2"),
        ({"prompt": "p", "completions": ["a"], "labels": [2]}, r"labels must be true, false or null for each step"),
        ({"prompt": "p", "problem": "q", "steps": ["a"], "label": 0}, "the prompt can be in prompt or problem; leave"),
        ({"question": {"problem": "p"}, "label": {"steps": [1]}}, "the label's steps must be a list of objects"),
        (
            {"question": {"problem": "p"}, "label": {"steps": [{"completions": [], "chosen_completion": 0}]}},
            "a step has no completion number 0",
        ),
        (
            {"question": {"problem": "p"}, "label": {"steps": [{"completions": [1], "chosen_completion": 0}]}},
            "a completion must be an object with text and rating",
        ),
    ],
)
def test_bad_rows_are_named(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_texts(write(tmp_path / "bad.jsonl", [row]), kind="traces")


def test_traces_without_a_label_and_of_one_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = [{"prompt": f"p{i}", "completions": [f"word {i % 2}"], "labels": [bool(i % 2)]} for i in range(30)]
    none = [{"prompt": f"p{i}", "completions": [f"a {i}", "b"], "labels": [None, None]} for i in range(3)]
    file = write(tmp_path / "t.jsonl", [*one, *none])
    assert run(["fit", file, "--steps", "--head", "linear", "-o", "model", "--embedder", "hashing"]) == 0
    assert run(["evaluate", "model", file]) == 0
    assert "30 labelled steps of 30 traces, 30 prompts" in capsys.readouterr().out
    assert run(["fit", write(tmp_path / "n.jsonl", none), "--steps", "-o", "m2", "--embedder", "hashing"]) == 1
    assert "and no step has a label" in capsys.readouterr().err
    assert run(["evaluate", "model", write(tmp_path / "n.jsonl", none)]) == 1
    assert "no step has a label, so there is nothing to compare with" in capsys.readouterr().err


def test_steps_and_preferences_are_not_mixed_up(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    steps = write(tmp_path / "t.jsonl", first_errors(prompts=6))
    pairs = [{"prompt": f"p{i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(12)]
    prefs = write(tmp_path / "p.jsonl", pairs)
    made = ["--head", "linear", "--embedder", "hashing"]
    assert run(["fit", steps, "-o", "m", *made]) == 1
    assert "has no column 'chosen', which pairs need" in capsys.readouterr().err
    assert run(["fit", prefs, "--steps", "-o", "m", *made]) == 1
    assert "has no column" in capsys.readouterr().err
    assert run(["fit", steps, "--steps", "--stream", "-o", "m", *made]) == 2
    assert "--stream reads preference pairs" in capsys.readouterr().err
    assert run(["fit", steps, "--steps", "--head", "boosting", "-o", "m", "--embedder", "hashing"]) != 0
    assert run(["fit", prefs, "-o", "m", *made]) == 0
    assert run(["evaluate", "m", steps]) == 2
    assert "m learned from preferences; train one on steps by" in capsys.readouterr().err
    with pytest.raises(DataError, match=r"there are labelled steps here, which `embrm fit --steps`"):
        read_texts(steps, kind="judged", rules=RowRules())


def test_the_report_by_hand() -> None:
    # Three traces: error at 1 (found), error at 0 (found at 1), none (one found); a fourth without labels.
    chance = np.array([0.9, 0.2, 0.1, 0.8, 0.3, 0.7, 0.4, 0.6])
    labels = np.array([1, 0, np.nan, 0, np.nan, 1, 1, np.nan])
    prompt = np.array([0, 0, 0, 1, 1, 2, 2, 3])
    traces = StepTraces(Features({"joint": np.ones((8, 2))}, prompt=prompt), np.array([0, 3, 5, 7, 8]), labels)
    reward = Reward(np.log(chance / (1 - chance))[None], "point")
    found = step_report(reward, traces, seed=0)
    assert (found.steps, found.traces, found.prompts) == (5, 3, 3)
    assert found.accuracy.estimate == pytest.approx(3 / 5)
    assert found.located.estimate == 0.5
    assert found.passed.estimate == 0
    assert found.f1.estimate == 0
    # By their worst steps the right trace (0.4) is above both others (0.1, 0.3).
    assert found.auroc["min"] == 1.0
    right = traces.take([2])
    alone = step_report(
        Reward(np.array([[2.0, 2.0]]), "point"),
        StepTraces(Features({"joint": np.ones((2, 2))}, prompt=np.array([0, 1])), np.array([0, 1, 2]), np.ones(2)),
        seed=0,
    )
    assert len(right) == 1
    assert alone.passed.estimate == 1
    assert alone.as_dict()["located"] == {"estimate": None, "low": None, "high": None}
    with pytest.raises(OptionError, match=r"fraction must be inside \[0, 1\), got 2"):
        fit_and_check_steps(Linear(loss="step"), traces, seed=0, fraction=2)
