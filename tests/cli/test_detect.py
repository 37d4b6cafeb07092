"""`embrm detect`: detectors by spaces, runs step by step, and the exit code that stops a training run."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from embrm.cli import _alarm, detect
from embrm.core.files import read_rows
from embrm.heads import load_model
from embrm.monitoring import read_log
from embrm.monitoring.rule import RULES
from embrm.monitoring.spaces import SPACES
from tests.cli.conftest import Result, write_lines

Run = Callable[..., Result]


@pytest.fixture
def _strange(workspace: Path) -> None:
    rows = [{"prompt": f"How do I mend cup {i}?", "response": "zzz qqq " * (i + 3)} for i in range(20)]
    write_lines(workspace / "strange.jsonl", rows)


@pytest.mark.usefixtures("_strange")
def test_detectors_and_spaces_are_compared_and_an_alarm_is_code_3(embrm: Run) -> None:
    words = (
        "--detector",
        "mahalanobis",
        "--detector",
        "mmd",
        "--detector",
        "csi",
        "--space",
        "joint",
        "--space",
        "response",
    )
    clean = embrm("detect", "model", "prefs.jsonl", "pools.jsonl", *words, "--json")
    odd = embrm("detect", "model", "prefs.jsonl", "strange.jsonl", *words, "--json")
    assert odd.code == 3
    assert odd.json["alarm"]
    found = {(f["detector"], f["space"]): f for f in odd.json["findings"]}
    assert list(found) == [(d, s) for s in ("joint", "response") for d in ("mahalanobis", "mmd", "csi")]
    assert np.mean(found["mahalanobis", "response"]["verdict"]["flagged"]) > 0.9
    assert len(found["mahalanobis", "joint"]["verdict"]["p_values"]) == odd.json["outputs"] == 20
    for (name, _), finding in found.items():
        assert finding["alarm"] == (None if name == "csi" else finding["p_value"] <= 0.01 / 4)
    assert (clean.code, clean.json["alarm"]) == (
        3 if any(f["alarm"] for f in clean.json["findings"]) else 0,
        clean.code == 3,
    )
    table = embrm("detect", "model", "prefs.jsonl", "strange.jsonl", *words).out
    assert re.search(r"^mmd +response .*ALARM$", table, flags=re.MULTILINE)
    assert re.search(r"^csi +response .*–$", table, flags=re.MULTILINE)


@pytest.mark.usefixtures("_strange")
@pytest.mark.parametrize("space", ["latent", "joint", "disagreement", "length"])
def test_vectors_made_elsewhere_give_what_embedding_gives(space: str, embrm: Run) -> None:
    words = ("detect", "model", "prefs.jsonl", "strange.jsonl", "--detector", "mahalanobis", "--space", space, "--json")
    made = embrm(*words)
    for file, to in (("prefs.jsonl", "known.npy"), ("strange.jsonl", "new.npy")):
        assert embrm("embed", file, "-o", to, "--embedder", "hashing").code == 0
    given = embrm(*words, "--reference-features", "known.npy", "--features", "new.npy")
    assert (given.code, given.json) == (made.code, made.json)


@pytest.mark.usefixtures("_strange")
def test_a_model_that_knows_of_no_embedder_needs_the_vectors_of_both_files(embrm: Run) -> None:
    for file, to in (("prefs.jsonl", "known.npy"), ("strange.jsonl", "new.npy")):
        assert embrm("embed", file, "-o", to, "--embedder", "hashing").code == 0
    assert embrm("fit", "prefs.jsonl", "--head", "linear", "-o", "m", "--features", "known.npy").code == 0
    words, given = ("detect", "m", "prefs.jsonl", "strange.jsonl"), ("--reference-features", "known.npy")
    assert embrm(*words, *given, "--features", "new.npy").code in (0, 3)
    refused = embrm(*words, *given)
    assert (refused.code, "give such vectors with --features" in refused.err) == (2, True)
    refused = embrm(*words, *given, "--features", "new.npy", "--space", "response")  # they are of the model's view
    assert (refused.code, "and 'response' is another" in refused.err) == (2, True)


def test_outputs_trained_on_are_told_apart_with_their_vectors(embrm: Run, workspace: Path) -> None:
    rows = [json.loads(line) for line in (workspace / "prefs.jsonl").read_text().splitlines()]
    new = [{"prompt": f"Is it cup {i}?", "response": "a thing " * (i + 1)} for i in range(20)]
    write_lines(workspace / "mixed.jsonl", [{"prompt": r["prompt"], "response": r["chosen"]} for r in rows[:20]] + new)
    assert embrm("embed", "mixed.jsonl", "-o", "mixed.npy", "--embedder", "hashing").code == 0
    words = ("detect", "model", "prefs.jsonl", "mixed.jsonl", "--detector", "mahalanobis", "--json")
    made, given = embrm(*words), embrm(*words, "--features", "mixed.npy")
    assert 20 <= made.json["unseen"]["outputs"] < 40  # some prompts were held out
    assert given.json == made.json
    refused = embrm("detect", "model", "prefs.jsonl", str(workspace), "--features", "mixed.npy")
    assert (refused.code, "are of two files of texts" in refused.err) == (2, True)


def test_other_prompts_of_the_same_kind_raise_no_alarm(embrm: Run) -> None:
    for seed in range(3):
        pairs = [json.loads(line) for line in Path("prefs.jsonl").read_text().splitlines()]
        same = [{**row, "prompt": f"{row['prompt']} again"} for row in pairs]
        write_lines(Path("same.jsonl"), same[40:])
        write_lines(Path("half.jsonl"), pairs[:40])
        words = ("--space", "response", "--space", "length", "--space", "disagreement", "--set", "alpha=0.2")
        result = embrm(
            *("detect", "model", "half.jsonl", "same.jsonl", *words, "--detector", "mahalanobis", "--seed", str(seed))
        )
        assert result.code == 0, result.out


@pytest.mark.parametrize("space", SPACES)
def test_a_run_is_watched_in_every_space(space: str, embrm: Run) -> None:
    words = ("--space", space, "--detector", "mahalanobis", "--window", "3", "--json")
    found = embrm("detect", "model", "prefs.jsonl", "hacked", *words)
    (line,) = found.json["watched"]
    assert (line["rule"], len(line["statistic"]), len(line["p_values"])) == ("p_value", 12, 12)
    assert line["report"]["onset"] is not None
    assert found.code == (0 if line["alarm"] is None else 3)
    if space == "response":
        assert line["alarm"] in (6, 7, 8)
        assert line["report"]["auroc"] > 0.9
        calm = embrm("detect", "model", "prefs.jsonl", "run", *words).json["watched"][0]
        assert (calm["alarm"], calm["report"]["onset"]) == (None, None)


def test_a_run_s_recorded_latents_are_used(embrm: Run, workspace: Path) -> None:
    from embrm import load_model

    width = load_model("model").latent(np.zeros((1, 512))).shape[1]
    rng = np.random.default_rng(0)
    for t in range(12):
        np.save(workspace / "run" / f"latent-{t:04d}.npy", rng.normal(size=(30, width)) * 1e3)
    result = embrm("detect", "model", "prefs.jsonl", "run", "--detector", "mahalanobis")
    assert (result.code, re.search(r"^mahalanobis +latent +p_value ", result.out, flags=re.MULTILINE) is not None) == (
        3,
        True,
    )


def test_every_onset_rule_can_be_asked_for(embrm: Run) -> None:
    base = ("detect", "model", "prefs.jsonl", "hacked", "--space", "response", "--json")
    for rule, name, more in (
        ("ratio", "csi", ()),
        ("cusum", "dispersion", ()),
        ("threshold", "mop", ("--limit", "0.5")),
        ("p_value", "neighbours", ()),
    ):
        result = embrm(*base, "--detector", name, "--onset", rule, *more)
        assert result.code in (0, 3), result.err
        assert result.json["watched"][0]["rule"] == rule
    usual = embrm(*base, "--detector", "csi", "--detector", "mmd", "--detector", "mop").json["watched"]
    assert [line["rule"] for line in usual] == ["ratio", "cusum", "p_value"]


def test_the_choices_are_the_library_s() -> None:
    assert tuple(detect.SPACES) == SPACES
    assert tuple(_alarm.RULES) == RULES


def test_a_reference_smaller_than_its_dimensions_is_in_the_verdict(embrm: Run) -> None:
    result = embrm("detect", "model", "prefs.jsonl", "pools.jsonl", "--space", "joint", "--detector", "mahalanobis")
    assert re.search(r"^mahalanobis \(joint\): the covariance of 512 dimensions is learnt from only", result.out, re.M)


def test_a_run_that_is_being_written_is_explained_and_watched_as_far_as_it_is(embrm: Run, workspace: Path) -> None:
    file = workspace / "run" / "trajectory.jsonl"
    lines = file.read_text().splitlines(keepends=True)
    file.write_text("".join(lines[:5]) + lines[5][:100])
    words = ("detect", "model", "prefs.jsonl", "run", "--space", "response", "--json")
    assert len(embrm(*words).json["watched"][0]["statistic"]) == 5  # the sixth line has no end yet
    file.write_text("".join(lines[:5]) + lines[5][:100] + "\n")
    broken = embrm(*words)
    assert (broken.code, "trajectory.jsonl line 6 is not valid JSON" in broken.err) == (1, True)
    file.write_text("")
    empty = embrm(*words)
    assert (empty.code, "the run in run has no step yet" in empty.err) == (1, True)


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("pools.jsonl", "--window", "3"), 2, r"are about the steps of a run, and pools\.jsonl is neither"),
        (("pools.jsonl", "--level", "0"), 2, r"level must be inside \(0, 1\), got 0"),
        (("pools.jsonl", "--set", "alpha=0.1"), 2, r"--set needs a single --detector"),
        (("empty.jsonl",), 1, r"empty\.jsonl is empty; expected at least one row"),
        (("run", "--window", "0"), 2, r"window must be at least 1 step, got 0"),
        (("run", "--level", "2"), 2, r"level must be inside \(0, 1\), got 2"),
        (("run", "--onset", "threshold"), 2, r"a limit belongs to the rule 'threshold'"),
        (("run", "--limit", "3"), 2, r"a limit belongs to the rule 'threshold'"),
        (
            ("run", "--detector", "csi", "--onset", "p_value"),
            2,
            r"'p_value' needs a detector with p-values of whole sets",
        ),
        (("model",), 1, r"no trajectory\.jsonl in model; give the folder that a run was written to"),
        (
            ("pools.jsonl", "--detector", "conformal", "--space", "joint"),
            1,
            r"reference must have .* 1 columns, got 512",
        ),
    ],
)
def test_what_makes_no_sense_is_explained(
    words: tuple[str, ...], code: int, message: str, embrm: Run, workspace: Path
) -> None:
    (workspace / "empty.jsonl").touch()
    result = embrm("detect", "model", "prefs.jsonl", *words)
    assert (result.code, re.search(message, result.err) is not None) == (code, True), result.err


def test_outputs_of_the_training_are_told_and_the_others_checked_apart(embrm: Run, workspace: Path) -> None:
    rows = [json.loads(line) for line in Path("prefs.jsonl").read_text().splitlines()]
    fresh = [{"prompt": f"new {i}", "chosen": f"zzz {i}", "rejected": f"qqq {i}"} for i in range(12)]
    write_lines(workspace / "mixed.jsonl", rows[:20] + fresh)
    found = embrm("detect", "model", "prefs.jsonl", "mixed.jsonl", "--detector", "mmd", "--space", "joint", "--json")
    counts = found.json["training"]
    assert counts["reference"]["trained_on"] == 64  # of 80, as a fifth of the prompts was held out
    assert counts["outputs"]["rows"] == 32
    assert found.json["unseen"]["outputs"] == 2 * (32 - counts["outputs"]["trained_on"])
    assert "reported apart" in found.err
    assert (found.code == 3) == found.json["alarm"] == found.json["unseen"]["findings"][0]["alarm"]
    text = embrm("detect", "model", "prefs.jsonl", "mixed.jsonl", "--detector", "mmd")
    assert "outputs that were not trained on:" in text.out
    assert "reference: 64 of 80 rows were in the model's training" in text.out


def _log(path: Path, *, shift: int, vector: bool = False) -> None:
    """Write a log of 12 steps whose texts are the reference's until the shift, and then strange."""
    rng, prefs = np.random.default_rng(0), read_rows(path.parent / "prefs.jsonl").values
    rows = []
    for step in range(12):
        for _ in range(8):
            row = prefs[rng.integers(len(prefs))]
            said = "zzz qqq " * int(rng.integers(3, 30)) if step >= shift else row["rejected"]
            rows.append({"step": step, "reward": float(step), "prompt": row["prompt"], "text": said})
            if vector:
                rows[-1] = {"step": step, "reward": 0.0, "vector": (rng.normal(size=4) + 9 * (step >= shift)).tolist()}
    write_lines(path, rows)


def test_any_log_of_texts_is_followed_step_by_step(embrm: Run, workspace: Path) -> None:
    _log(workspace / "log.jsonl", shift=6)
    typed = ("detect", "model", "prefs.jsonl", "log.jsonl", "--space", "response", "--window", "1", "--detector")
    found = embrm(*typed, "mahalanobis", "--detector", "csi", "--json")
    assert found.code == 3
    line, other = found.json["watched"]
    assert (line["rule"], line["level"], line["alarm"]) == ("p_value", 0.01 / 2, 6)
    assert (other["rule"], other["level"]) == ("ratio", None)
    assert re.search(r"mahalanobis +response +p_value +0\.005 ", embrm(*typed, "mahalanobis", "--detector", "csi").out)
    _log(workspace / "fair.jsonl", shift=99)
    fair = embrm("detect", "model", "prefs.jsonl", "fair.jsonl", *typed[4:], "mahalanobis", "--json")
    assert (fair.code, fair.json["watched"][0]["alarm"]) == (0, None)


def test_a_log_that_cannot_be_used_names_its_row(embrm: Run, workspace: Path) -> None:
    for row, message in (
        ({"step": -1, "reward": 0.0, "text": "a"}, "step must be a whole number from 0 on, got -1"),
        ({"step": 0, "reward": "much", "text": "a"}, "reward must be a finite number, got 'much'"),
        (
            {"step": 0, "reward": 0.0},
            "must have a text or a vector, got step, reward; rewards alone cannot tell hacking",
        ),
        ({"step": 0, "reward": 0.0, "prompt": "a", "text": None}, "log the `text` (with its `prompt`) or the `vector`"),
        ({"step": 0, "reward": 0.0, "vector": [1.0, "x"]}, "vectors must be lists of as many numbers each"),
    ):
        write_lines(workspace / "bad.jsonl", [row])
        found = embrm("detect", "model", "prefs.jsonl", "bad.jsonl")
        assert found.code == 1
        assert message in found.err
    write_lines(workspace / "bad.jsonl", [{"step": 0, "reward": 0.0, "vector": [1.0]}, {"step": 1, "reward": 0.0}])
    assert "has no vector, but other rows have" in embrm("detect", "model", "prefs.jsonl", "bad.jsonl").err


def test_vectors_of_a_log_become_the_latents_of_its_model(workspace: Path) -> None:
    _log(workspace / "vectors.jsonl", shift=6, vector=True)
    run = read_log(workspace / "vectors.jsonl")
    assert [step.latent is not None and step.latent.shape for step in run.steps] == [(8, 4)] * 12
    model = load_model(workspace / "model")
    x = np.random.default_rng(0).normal(size=(3, model.width)).astype(np.float32)
    write_lines(workspace / "inputs.jsonl", [{"step": 0, "reward": 1.0, "vector": row.tolist()} for row in x])
    step = read_log(workspace / "inputs.jsonl", model).steps[0]
    assert step.latent is not None
    np.testing.assert_allclose(step.latent, model.latent(x), rtol=1e-6)
    assert step.proxy == 1.0
