"""Every command that reads files, on damaged ones: an exit code and a message, never a traceback, never a long wait."""

from __future__ import annotations

import contextlib
import io
import json
import random
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embrm.cli import embrm as program
from embrm.cli import run
from embrm.core.trajectory import Step, Trajectory
from tests.fuzz import strategies
from tests.fuzz.conftest import counts
from tests.fuzz.mutations import EDGES, damaged_bytes, damaged_value, dumped
from tests.sealed_model import seal

files = settings.get_profile("files")
MESSAGE = 100_000  # characters
SECONDS = 5.0  # of processor time; the second run counts where the first is slower, as it may be the one that imports
HASHING = ("--embedder", "hashing", "--embedder-set", "dimension=16")

ON_ROWS: dict[str, tuple[str, ...]] = {
    "fit": ("fit", "bad", "--head", "linear", "--set", "prior_precision=1", *HASHING, "-o", "new"),
    "score": ("score", "model", "bad", "-o", "new.jsonl"),
    "select": ("select", "model", "bad"),
    "select by scores": ("select", "bad", "pools.jsonl"),
    "select by penalty": (
        "select", "model", "pools.jsonl", "--selector", "penalised", "--penalty", "bad", "--set", "weight=1",
    ),
    "curve": ("curve", "model", "bad"),
    "curve by scores": ("curve", "bad", "pools.jsonl", "--threshold"),
    "evaluate": ("evaluate", "model", "bad", "--json"),
    "detect": ("detect", "model", "prefs.jsonl", "bad", "--detector", "mahalanobis"),
    "detect by reference": ("detect", "model", "bad", "prefs.jsonl", "--detector", "csi"),
    "embed": ("embed", "bad", *HASHING, "-o", "new.npy"),
    "convert": ("convert", "bad", "new.jsonl", "--on-bad-row", "report=report.jsonl"),
    "convert to Parquet": ("convert", "bad", "new.parquet", "--on-bad-row", "skip"),
    "convert to pools": ("convert", "bad", "-", "--to", "pools", "--on-bad-row", "skip"),
    "data check": ("data", "check", "bad", "--on-bad-row", "skip"),
    "rewardbench": ("rewardbench", "bad", "--model", "model"),
    "study --init": ("study", "--init", "bad"),
    "annotators": ("annotators", "voters", "bad"),
    "infer": ("infer", "bad", "texts.jsonl", "--set", "prior_precision=1", "--restarts", "2", *HASHING, "-o", "new"),
    "infer from a base": ("infer", "texts.jsonl", "bad", "--restarts", "2", *HASHING, "-o", "new"),
    "stress": ("stress", "model", "bad", "--draws", "20"),
    "compare": ("compare", "bad", "--head", "linear:prior_precision=1", "--folds", "2", "--budget", "1", *HASHING),
}  # fmt: skip
KINDS = {
    "fit": ("pairs", "pairs", "rated"),
    "select": ("pools",),
    "curve": ("pools",),
    "evaluate": ("pools", "pools", "pairs", "rated"),
    "compare": ("pairs",),
    "rewardbench": ("bench",),
    "annotators": ("votes", "votes", "pools"),
    "infer": ("texts", "texts", "pools"),
}
# Commands that read rows where a test of the readers damages them, or read no file but a model or a folder.
ELSEWHERE = {"cache", "claims", "demo", "doctor", "generate", "list", "rl", "serve", "tilt"}
READING = ("fit", "score", "select", "curve", "evaluate", "detect", "embed", "compare")
SCORED = ("select by scores", "select by penalty", "curve by scores")
ON_VECTORS: dict[str, tuple[str, ...]] = {
    "fit on vectors": ("fit", "prefs.jsonl", "--features", "bad.npy", "--head", "linear", "-o", "new"),
    "select by draws": ("select", "bad.npy", "pools.jsonl"),
    "score vectors": ("score", "model", "pools.jsonl", "--features", "bad.npy"),
}
OPTIONS = (
    ("fit", "prefs.jsonl", "--head", "linear", *HASHING, "-o", "new", "--set", "{}"),
    ("fit", "prefs.jsonl", "--head", "linear", *HASHING, "-o", "new", "--holdout", "{}", "--set", "prior_precision=1"),
    ("fit", "prefs.jsonl", "--head", "linear", *HASHING, "-o", "new", "--seed", "{}", "--set", "prior_precision=1"),
    ("select", "model", "pools.jsonl", "--selector", "soft", "--set", "temperature={}"),
    ("select", "model", "pools.jsonl", "--selector", "{}"),
    ("curve", "model", "pools.jsonl", "--sizes", "{}"),
    ("curve", "model", "pools.jsonl", "--selector", "poisson:rate={}"),
    ("detect", "model", "prefs.jsonl", "pools.jsonl", "--detector", "mahalanobis:alpha={}"),
    ("detect", "model", "prefs.jsonl", "pools.jsonl", "--detector", "mahalanobis", "--member", "{}"),
    ("detect", "model", "prefs.jsonl", "pools.jsonl", "--detector", "mahalanobis", "--level", "{}"),
    ("embed", "prefs.jsonl", "--embedder", "{}", "-o", "new.npy"),
    ("embed", "prefs.jsonl", "--embedder", "hashing", "--embedder-set", "dimension={}", "-o", "new.npy"),
    ("convert", "prefs.jsonl", "new.jsonl", "--min-gap", "{}"),
    ("convert", "prefs.jsonl", "-", "--columns", "{}"),
    ("convert", "prefs.jsonl", "-", "--layout", "{}"),
    ("world", "sample", "-n", "2", "--pairs", "--bias", "{}"),
    ("world", "sample", "-n", "2", "--pairs", "--flips", "{}"),
    ("list", "{}"),
    ("{}",),
)
TYPED = (
    *("", "-", "--", "0", "-1", "1", "0.5", "1e-320", "1e308", "nan", "inf", "-inf", ".nan", "1e", "9" * 20, "9" * 400),
    *("[", "]", "{", "[[[]]]", "a=b", "=", "a=", ".", "..", "/", "members=[", "members=1", "prior_precision=.inf"),
    *("members=&a [*a]", "view=x", "base.members=1", "linear", "mean", "hashing", "None", "null", "true", "2024-99-99"),
    *("é", "\u202e", "%s", "{}", "'", '"', "$(id)", "a b", "1,2", "1,,2", ",", "5,4", "x" * 5000),
)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Make a folder with good files and a model, and work in it."""
    room = tmp_path_factory.mktemp("commands")
    rng = random.Random(0)
    pairs = [{"prompt": f"p{i // 2}", "chosen": f"good {rng.random()}", "rejected": f"bad {i}"} for i in range(40)]
    (room / "prefs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))
    (room / "pools.jsonl").write_text("".join(json.dumps(row) + "\n" for row in strategies.POOLS))
    run_ = Trajectory(room / "run")
    for t in range(4):
        sample = [{"prompt": f"p{i}", "text": f"t{t} {i}"} for i in range(4)]
        run_.add(Step(t, t / 10, 1.0, 2.0, float(t), {"words": 1.0}, [0.0], sample))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(room)
        fit = ["fit", "prefs.jsonl", "--head", "linear", "--set", "members=2", "--set", "prior_precision=1", *HASHING]
        assert called(*fit, "-o", "model")[0] == 0
        (room / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in strategies.TEXTS))
        votes = "".join(json.dumps({**row, "annotator": "ab"[i % 2]}) + "\n" for i, row in enumerate(pairs))
        (room / "votes.jsonl").write_text(votes)
        assert called("fit", "votes.jsonl", *fit[2:], "--by", "annotator", "-o", "voters")[0] == 0
        assert called("embed", "pools.jsonl", *HASHING, "-o", "pools.npy")[0] == 0
        yield room


def called(*words: str) -> tuple[int, str]:
    """Run a command and return its exit code and what it said."""
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = run(words)
    return code, err.getvalue()


def tried(category: str, *words: str) -> None:
    """Run a command on what is damaged: it says what it did in time, and a traceback goes through."""
    for _ in range(2):
        for made in ("new", "new.jsonl", "new.npy", "new.parquet", "report.jsonl"):
            shutil.rmtree(made) if Path(made).is_dir() else Path(made).unlink(missing_ok=True)
        before = time.process_time()
        code, said = called(*words)
        seconds = time.process_time() - before
        if seconds < SECONDS:
            break
    assert seconds < SECONDS, words
    assert code in (0, 1, 2, 3)
    assert code in (0, 3) or re.search(r"error:", said, re.IGNORECASE), said
    assert len(said) < MESSAGE
    counts[f"embrm {category}", f"exit {code}"] += 1


def test_every_command_is_tried() -> None:
    tried_here = {words[0] for words in (*ON_ROWS.values(), *ON_VECTORS.values(), *OPTIONS)} - {"{}"}
    assert sorted(tried_here | ELSEWHERE) == program.list_commands(click.Context(program))


@pytest.mark.parametrize("name", ON_ROWS)
@files
@given(draw=st.data())
def test_rows(name: str, draw: st.DataObject, room: Path) -> None:
    own = KINDS.get(name.split()[0], ("pairs", "pools", "texts", "bench", "rated"))
    (room / "bad").write_bytes(draw.draw(strategies.containers(("scores",) if name in SCORED else own)))
    skipping = name in READING and draw.draw(st.booleans())
    tried(name, *ON_ROWS[name], *(("--on-bad-row", "skip") if skipping else ()))


@pytest.mark.parametrize("name", ON_VECTORS)
@files
@given(draw=st.data())
def test_vectors(name: str, draw: st.DataObject, room: Path) -> None:
    (room / "bad.npy").write_bytes(
        draw.draw(strategies.damaged((room / "pools.npy").read_bytes()) | strategies.arrays())
    )
    tried(name, *ON_VECTORS[name])


@files
@given(draw=st.data())
def test_runs(draw: st.DataObject, room: Path) -> None:
    rng = random.Random(draw.draw(st.integers(0, 2**32)))
    lines = (room / "run" / "trajectory.jsonl").read_bytes()
    rows = [json.loads(line) for line in lines.splitlines()]
    Path("bad run").mkdir(exist_ok=True)
    if rng.random() < 0.5:
        value = damaged_value(rows, rng)
        lines = b"".join(dumped(row) + b"\n" for row in (value if isinstance(value, list) else [value]))
    else:
        lines = damaged_bytes(lines, rng)
    Path("bad run/trajectory.jsonl").write_bytes(lines)
    tried("detect a run", "detect", "model", "prefs.jsonl", "bad run", "--detector", "mahalanobis", "--space", "joint")


@files
@given(draw=st.data())
def test_models(draw: st.DataObject, room: Path) -> None:
    rng = random.Random(draw.draw(st.integers(0, 2**32)))
    shutil.rmtree("bad model", ignore_errors=True)
    shutil.copytree(room / "model", "bad model")
    file = Path(
        "bad model", rng.choice(("config.json", "config.json", "probe.json", "model.safetensors", "manifest.json"))
    )
    if file.suffix == ".json" and rng.random() < 0.5:
        file.write_bytes(dumped(damaged_value(json.loads(file.read_bytes()), rng)))
    else:
        file.write_bytes(damaged_bytes(file.read_bytes(), rng))
    if file.name != "manifest.json" and rng.random() < 0.8:
        seal(Path("bad model"))
    tried("score by a model", "score", "bad model", "pools.jsonl")


@pytest.mark.parametrize("words", OPTIONS, ids=" ".join)
@files
@given(value=st.sampled_from(TYPED) | st.text(max_size=10).filter(lambda text: "\0" not in text))
def test_options(words: tuple[str, ...], value: str, room: Path) -> None:
    typed = [word.replace("{}", value) if "{}" in word else word for word in words]
    typed = [word.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape") for word in typed]
    if typed[0] in ("serve", "study", "data", "doctor"):  # commands of their own, which do long or lasting work
        return
    tried("options", *typed)


@files
@given(draw=st.data())
def test_configurations_and_worlds(draw: st.DataObject, room: Path) -> None:
    Path("bad.yaml").write_text(draw.draw(strategies.yaml_texts), encoding="utf-8", errors="surrogatepass")
    tried("study", "study", "--config", "bad.yaml", "--dry-run", "-o", "new")
    tried("world sample", "world", "sample", "--world", "bad.yaml", "-n", "2")
    value = draw.draw(st.sampled_from(EDGES))
    shown = str(value).replace("\0", "").encode("utf-8", "replace").decode()
    tried("study --set", "study", "--config", "ci", "--dry-run", "-o", "new", "--set", f"pairs=[{shown[:200]}]")
