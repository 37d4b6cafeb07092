"""Bad input: a message that says what was expected, what came and what to do; the right exit code; nothing written."""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.cli.conftest import Result
from tests.sealed_model import seal

Run = Callable[..., Result]
FIT = ("fit", "bad", "--head", "linear", "-o", "new", "--embedder", "hashing")
EVALUATE = ("evaluate", "model", "bad")
COMPARE = ("compare", "--head", "linear", "--embedder", "hashing")
SELECT = ("select", "model", "bad", "-o", "new")
SCORE = ("score", "model", "bad", "-o", "new")


def lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def pair(i: int = 0, **changed: Any) -> dict[str, Any]:
    return {"prompt": f"p{i}", "chosen": f"good {i}", "rejected": f"bad {i}", **changed}


def pool(i: int = 0, **changed: Any) -> dict[str, Any]:
    return {"id": f"q{i}", "prompt": f"p{i}", "responses": ["a", "b"], "gold": [0, 1], **changed}


def without(row: dict[str, Any], column: str) -> dict[str, Any]:
    return {key: value for key, value in row.items() if key != column}


CASES = {
    "a single prompt": (
        (*COMPARE, "bad"),
        lines(pair(), pair(chosen="c", rejected="d")),
        r"belong to one prompt, so none",
    ),
    "missing column": (FIT, lines({"prompt": "p", "chosen": "a"}), r"no column 'rejected'.*found: chosen, prompt"),
    "misspelt column": (
        FIT,
        lines({"prompt": "p", "chosen": "a", "rejcted": "b"}),
        r"no column 'rejected'.*rename 'rejcted' to 'rejected'",
    ),
    "misspelt column, kind unknown": (
        EVALUATE,
        lines({"prompt": "p", "responces": ["a", "b"]}),
        r"neither.*found: prompt, responces.*rename 'responces' to 'responses'",
    ),
    "column missing in one row": (FIT, lines(pair(), without(pair(1), "chosen")), r"bad line 2 has no 'chosen'"),
    "empty file": (FIT, b"", r"bad is empty; expected at least one row"),
    "blank lines only": (FIT, b"\n \n", r"bad is empty"),
    "broken JSON": (FIT, lines(pair()) + b'{"prompt": \n', r"bad line 2 is not valid JSON: .* at column"),
    "endless number": (FIT, b'{"prompt": ' + b"1" * 5000 + b"}\n", r"bad line 1 cannot be read as JSON"),
    "a list instead of an object": (FIT, b"[1, 2]\n", r"bad line 1 must be a JSON object, got list"),
    "not UTF-8": (
        FIT,
        lines(pair()) + b'{"prompt": "\xe9t\xe9"}\n',
        r"bad line 2 is not UTF-8 \(byte 0xe9 at",
    ),
    "cut gzip": (FIT, gzip.compress(lines(*map(pair, range(99))))[:-20], r"bad cannot be read: Compressed file ended"),
    "damaged Parquet": (FIT, b"PAR1 nothing", r"bad is a damaged Parquet file"),
    "chosen equal to rejected": (FIT, lines(pair(), pair(rejected="good 0")), r"bad line 2: chosen equals rejected"),
    "text of a wrong type": (
        FIT,
        lines(pair(chosen=3)),
        r"bad line 1: chosen must be text or a list of .*, got 3",
    ),
    "messages without content": (FIT, lines(pair(chosen=[{"role": "user"}])), r"line 1: chosen must hold messages"),
    "a picture": (
        FIT,
        lines(pair(chosen=[{"role": "assistant", "content": [{"type": "image"}]}])),
        r"line 1: chosen: a message's content must be text.*images cannot be embedded",
    ),
    "text and messages without a prompt": (
        FIT,
        lines({"chosen": "a", "rejected": [{"role": "assistant", "content": "b"}]}),
        r"line 1: chosen and rejected must both be text or both lists",
    ),
    "half a surrogate pair": (
        FIT,
        b'{"prompt": "p", "chosen": "\\ud800", "rejected": "b"}',
        r"half of a surrogate",
    ),
    "weight that is no number": (FIT, lines(pair(weight="x")), r"line 1: weight must be a finite number, got 'x'"),
    "margin that is infinite": (
        FIT,
        lines(pair(margin=float("inf"))),
        r"line 1: margin must be a finite number",
    ),
    "one prompt": (FIT, lines(pair(), pair(chosen="better")), r"all pairs belong to one prompt"),
    "one candidate": (
        EVALUATE,
        lines(pool(), pool(1, responses=["a"], gold=[1])),
        r"1 of 2 prompts have a single",
    ),
    "one pool": (EVALUATE, lines(pool()), r"got a single prompt"),
    "no gold": (EVALUATE, lines(*(without(pool(i), "gold") for i in range(3))), r"the pools have no gold rewards"),
    "gold in some pools": (EVALUATE, lines(pool(), without(pool(1), "gold")), r"bad line 2 has no 'gold', but other"),
    "gold that is NaN": (EVALUATE, lines(pool(), pool(1, gold=[0, float("nan")])), r"line 2: gold must be a finite"),
    "gold of another length": (
        EVALUATE,
        lines(pool(gold=[1])),
        r"line 1: gold must be a list .* 2 responses, got",
    ),
    "gold that is no list": (EVALUATE, lines(pool(gold=1)), r"line 1: gold must be a list"),
    "policy of another length": (SELECT, lines(pool(policy=["x"])), r"line 1: policy must be a list"),
    "no responses": (SELECT, lines(pool(responses=[], gold=[])), r"line 1: responses must be a list of at least one"),
    "duplicate ids": (SELECT, lines(pool(), pool(1), pool()), r"line 3: id 'q0' was used before \(bad line 1\)"),
    "pairs where pools are needed": (SELECT, lines(pair()), r"no column 'responses', which pools need; found: chosen"),
    "all pairs are ties": (EVALUATE, lines(pair(tie=True), pair(1, tie=True)), r"all pairs are ties"),
}


@pytest.mark.parametrize("case", CASES)
def test_bad_files_are_explained(case: str, embrm: Run, workspace: Path) -> None:
    command, content, message = CASES[case]
    (workspace / "bad").write_bytes(content)
    before = sorted(workspace.iterdir())
    result = embrm(*command)
    assert result.code == 1
    assert re.search(f"error: .*{message}", result.err)
    assert result.out == ""
    assert sorted(workspace.iterdir()) == before


@pytest.mark.parametrize(
    ("command", "code", "message"),
    [
        (("fit", "absent.jsonl", "-o", "new"), 1, r"there is no file absent\.jsonl"),
        (("fit", ".", "-o", "new"), 1, r"\. is a folder; expected"),
        (("fit", "prefs.jsonl", "--head", "infrom", "-o", "new"), 2, r"no head named 'infrom'\. Did you mean 'inform'"),
        (("fit", "prefs.jsonl", "--head", "linear", "--set", "member=2", "-o", "new"), 2, r"Did you mean 'members'"),
        (
            ("fit", "prefs.jsonl", "--head", "linear", "--set", "zzz=2", "-o", "new"),
            2,
            r"option 'zzz'\. There are:",
        ),
        (
            ("fit", "prefs.jsonl", "--head", "linear", "--set", "members", "-o", "new"),
            2,
            r"'members' is not NAME",
        ),
        (("fit", "prefs.jsonl", "--head", "linear", "--set", "members=x", "-o", "new"), 2, r"members: .*valid integer"),
        (("fit", "prefs.jsonl", "--head", "linear", "--set", "members=0", "-o", "new"), 2, r"members must be >= 1"),
        (("fit", "prefs.jsonl", "--embedder", "minlm", "-o", "new"), 2, r"no embedder named .* Did you mean 'minilm'"),
        (("embed", "prefs.jsonl", "--embedder", "", "-o", "new"), 2, r"no embedder named ''. There are: causal_lm, "),
        (("compare", "prefs.jsonl", "--head", "linear", "-o", ""), 2, r"written as \.md, .*, got ''"),
        (("claims", "run", "--expect", ""), 1, r"cannot be read: No such file"),
        (("fit", "prefs.jsonl", "--holdout", "1", "--embedder", "hashing", "-o", "new"), 2, r"fraction must be inside"),
        (("fit", "prefs.jsonl", "--head", "linear", "--set", "view=x", "-o", "new"), 2, r"no view 'x'; texts can be"),
        (("fit", "prefs.jsonl"), 2, r"Missing option '-o'"),
        (("evalute", "model", "prefs.jsonl"), 2, r"no command named 'evalute'\. Did you mean 'evaluate'"),
        (("xyzzy",), 2, r"no command named 'xyzzy'\. There are: annotators, cache, "),
        (("list", "haeds"), 2, r"'haeds' is not one of"),
        (("evaluate", "prefs.jsonl", "prefs.jsonl"), 1, r"prefs\.jsonl is not a saved model"),
        (("evaluate", "model", "pools.jsonl", "--sizes", "1,x"), 2, r"--sizes must be whole numbers .* got '1,x'"),
        (("evaluate", "model", "pools.jsonl", "--sizes", "7"), 2, r"the smallest pool has 6 responses"),
        (("evaluate", "model", "pools.jsonl", "--figure", "c.pdf"), 2, r"must end in \.svg or \.png, got c\.pdf"),
        (("evaluate", "model", "pools.jsonl", "--embedder-set", "dimension=9"), 1, r"trained on vectors of 'hashing"),
        (
            ("detect", "model", "prefs.jsonl", "pools.jsonl", "--set", "alpha=0.1"),
            2,
            r"--set needs a single",
        ),
        (("detect", "model", "prefs.jsonl", "pools.jsonl", "--member", "3"), 1, r"member must be inside 0\.\.2, got 3"),
        (("compare", "absent.jsonl", "--head", "linear"), 1, r"there is no file absent\.jsonl"),
        (("compare", "prefs.jsonl"), 2, r"Missing option '--head'"),
        (("compare", "prefs.jsonl", "--head", "infrom"), 2, r"no head named 'infrom'\. Did you mean 'inform'"),
        (("compare", "prefs.jsonl", "--head", "mlp:beta=1"), 2, r"has no option 'beta'"),
        (("compare", "prefs.jsonl", "--head", "linear", "-o", "t.xls"), 2, r"written as \.md, .*, got 't\.xls'"),
        ((*COMPARE, "pools.jsonl", "--folds", "3"), 1, r"no column 'chosen'"),
        ((*COMPARE, "prefs.jsonl", "--folds", "41"), 2, r"at most the number of prompts, 40, got 41; lower it"),
        ((*COMPARE, "prefs.jsonl", "--folds", "1"), 2, r"folds must be >= 2 and seeds >= 1, got 1"),
        ((*COMPARE, "prefs.jsonl", "--budget", "0"), 2, r"budget and splits must be >= 1, got 0"),
        (("study", "--init", "absent.jsonl", "-o", "new"), 1, r"there is no file absent\.jsonl"),
        (("study", "--init", "prompts.jsonl", "-o", "new"), 1, r"has prompts and no responses; `embrm generate`"),
        (
            ("study", "--init", "prefs.jsonl", "--init", "prefs.jsonl", "-o", "new"),
            2,
            r"or one of each, got prefs\.jsonl",
        ),
        (("study", "--init", "prefs.jsonl", "-o", "run"), 2, r"it is a folder; give the name of a file"),
        (("cache", "prune", "--idle-days", "-1"), 2, r"idle_days must be at least 0"),
    ],
)
def test_bad_words_are_explained(
    command: tuple[str, ...], code: int, message: str, embrm: Run, workspace: Path
) -> None:
    result = embrm(*command)
    assert (result.code, re.search(message, result.err.replace("\n", " ")) is not None) == (code, True), result.err
    assert not Path("new").exists()


OUTPUTS = {
    "study": ("study", "--init", "absent.jsonl"),
    "embed": ("embed", "absent.jsonl"),
    "fit": ("fit", "absent.jsonl", "--head", "linear"),
    "score": ("score", "absent", "absent.jsonl"),
    "select": ("select", "absent", "absent.jsonl"),
}


@pytest.mark.parametrize("command", OUTPUTS)
@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("prefs.jsonl/x", r"cannot write .*: Not a directory; choose another place"),
        ("/proc/x", r"cannot write /proc/x: .*; choose another place"),
        ("/dev/null", r"cannot write /dev/null: it is a device"),
    ],
)
def test_an_output_that_cannot_be_written_is_refused_before_any_work(
    command: str, output: str, message: str, embrm: Run
) -> None:
    result = embrm(*OUTPUTS[command], "-o", output)
    assert result.code == 2
    assert re.search(message, result.err)
    assert "absent" not in result.err  # the input was not even looked for


def test_a_figure_that_cannot_be_written_is_refused_before_any_work(embrm: Run) -> None:
    result = embrm("evaluate", "absent", "absent.jsonl", "--figure", "prefs.jsonl/x.svg")
    assert (result.code, "absent" in result.err) == (2, False)


def test_files_that_are_no_model_are_never_replaced(embrm: Run, workspace: Path) -> None:
    (workspace / "mine").mkdir()
    (workspace / "mine" / "thesis.txt").write_text("years")
    result = embrm("fit", "prefs.jsonl", "--head", "linear", "-o", "mine")
    assert (result.code, "holds files that embrm did not write" in result.err) == (2, True)
    assert (workspace / "mine" / "thesis.txt").read_text() == "years"
    assert "it is a file" in embrm("fit", "prefs.jsonl", "--head", "linear", "-o", "prefs.jsonl").err
    assert "it is a folder" in embrm("score", "model", "pools.jsonl", "-o", "mine").err


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (np.ones((159, 8)), r"f\.npy must have one row a text of prefs\.jsonl.*expected 160 rows, got 159"),
        (np.where(np.arange(1280).reshape(160, 8) == 40, np.nan, 1.0), r"f\.npy must be finite.*first row 5"),
        (np.where(np.arange(1280).reshape(160, 8) == 40, np.inf, 1.0), r"f\.npy must be finite.*first row 5"),
        (np.ones(160), r"f\.npy must be 2-D \(n, d\), got shape \(160,\)"),
        (np.ones((160, 8)), r"the model was trained on vectors of width 512, these have 8"),
        (np.array([None] * 160), r"f\.npy cannot be read as a \.npy file of vectors"),
    ],
)
def test_bad_features_are_explained(vectors: np.ndarray, message: str, embrm: Run) -> None:
    np.save("f.npy", vectors)
    result = embrm("evaluate", "model", "prefs.jsonl", "--features", "f.npy")
    assert (result.code, bool(re.search(message, result.err))) == (1, True), result.err


def test_constant_columns_are_legal(embrm: Run) -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((160, 6)).astype(np.float32)
    x[:, 2] = 0.25
    x[:, 4] = 0
    x[0::2, 0] += 2
    np.save("f.npy", x)
    found = embrm("fit", "prefs.jsonl", "--features", "f.npy", "--head", "linear", "-o", "m", "--json").json
    assert found["record"]["held_out"]["accuracy"]["estimate"] > 0.7
    assert found["warnings"] == []


def test_one_candidate_prompts_are_chosen(embrm: Run) -> None:
    Path("bad").write_bytes(lines(pool(), pool(1, responses=["only"], gold=[1])))
    rows = embrm("select", "model", "bad", "--json").json["rows"]
    assert (rows[1]["response"], rows[1]["index"]) == ("only", 0)


def test_texts_of_a_megabyte_are_read_and_their_truncation_is_reported(embrm: Run) -> None:
    rows = [pair(i, chosen="a long text " * 90_000) if i == 0 else pair(i) for i in range(12)]
    Path("long.jsonl").write_bytes(lines(*rows))
    assert len(rows[0]["chosen"]) > 1_000_000
    result = embrm("fit", "long.jsonl", "--head", "linear", "-o", "m", "--json")
    assert result.code == 0
    assert "1 of 24 texts are longer than the embedder reads; their ends were not seen" in result.json["warnings"]
    assert "warning: 1 of 24 texts" in result.err


def damage_tensors(folder: Path) -> None:
    arrays = load_file(folder / "model.safetensors")
    save_file({name: 2 * array for name, array in arrays.items()}, folder / "model.safetensors")


def damage_probe(folder: Path) -> None:
    probe = json.loads((folder / "probe.json").read_text())
    probe["draws"][0][0] += 1
    (folder / "probe.json").write_text(json.dumps(probe))
    seal(folder)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (damage_tensors, r"model\.safetensors is not the file that was saved \(its SHA-256 differs\)"),
        (damage_probe, r"fails its probe: scores differ by up to 1 "),
        (lambda folder: (folder / "config.json").unlink(), r"is not a saved model"),
        (lambda folder: (folder / "manifest.json").unlink(), r"is not a saved model: there is no manifest\.json"),
        (lambda folder: (folder / "config.json").write_text("{"), r"config\.json is not the file that was saved"),
    ],
)
def test_damaged_models_are_refused(damage: Callable[[Path], object], message: str, embrm: Run) -> None:
    assert embrm("score", "model", "pools.jsonl").code == 0
    damage(Path("model"))
    result = embrm("score", "model", "pools.jsonl")
    assert (result.code, bool(re.search(message, result.err))) == (1, True), result.err


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (("fit", "prefs.jsonl", "-o", "new", "--seed", "-1"), r"--seed.*-1 is not in the range 0<=x<=4294967295"),
        (("world", "sample", "--seed", "1" * 20), r"--seed.*is not in the range"),
        (("world", "sample", "--pairs", "--bias", "inf"), r"--bias.*must be a finite number, got inf"),
        (("world", "sample", "--pairs", "--flips", "nan"), r"--flips.*must be a finite number, got nan"),
        (("world", "sample", "-n", "99999999999"), r"is not in the range 1<=x<=2147483647"),
        (("data", "verify", "--sample", "-5"), r"--sample.*-5 is not in the range"),
        (("tilt", "model", "--refine", "-1"), r"--refine.*-1 is not in the range"),
        (("fit", "prefs.jsonl", "-o", "new", "--set", "members=["), r"the value of 'members=\[' is not YAML"),
        (("fit", "prefs.jsonl", "-o", "new", "--set", f"members={'[' * 9999}"), r"is not YAML"),
        (("fit", "prefs.jsonl", "-o", "new", "--set", "beta=.nan"), r"beta must be a finite number, got nan"),
        (("fit", "prefs.jsonl", "-o", "new", "--set", "members=2024-99-99"), r"is not YAML|valid integer"),
        (
            ("fit", "prefs.jsonl", "-o", "new", "--head", "linear", "--set", "prior_precision=1.0e-320"),
            r"prior_precision must be 0 or at least 2\.23e-308 in size",
        ),
        (("fit", "prefs.jsonl", "-o", "new", "--set", "members=99999999999"), r"members must be a whole number inside"),
        (
            ("fit", "prefs.jsonl", "-o", "new", "--head", "ensemble", "--set", "base={name: linear, options: {1: 2}}"),
            r"a head is a name or \{'name'",
        ),
        (
            ("embed", "prefs.jsonl", "-o", "v.npy", "--embedder", "hashing", "--embedder-set", "dimension=10000000000"),
            r"dimension must be a whole number inside",
        ),
        (
            ("embed", "prefs.jsonl", "-o", "v.npy", "--embedder", "hashing", "--embedder-set", "dimension=2000000000"),
            r"dimension must be inside 1\.\.1048576",
        ),
        (
            ("study", "--config", "ci", "-o", "new", "--set", "mechanisms.biased.bias=.nan"),
            r"bias must be a finite number",
        ),
        (("study", "--config", "ci", "-o", "new", "--set", "flips=["), r"the value of 'flips' is not valid YAML"),
        (("study", "--config", "ci", "-o", "new", "--set", f"seeds=[{'1' * 20}]"), r"seeds\.0: .*less than or equal"),
        (("study", "--config", "ci", "-o", "new", "--set", "pairs=[99999999999]"), r"pairs\.0: .*less than or equal"),
    ],
)
def test_options_at_their_edges_are_usage_errors(command: tuple[str, ...], message: str, embrm: Run) -> None:
    result = embrm(*command)
    assert (result.code, bool(re.search(message, result.err.replace("\n", " ")))) == (2, True), result.err[:2000]
    assert not Path("new").exists()
