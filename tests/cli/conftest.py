"""A folder with a small preference file, pools, outputs and a trained model, and the command line run inside it."""

from __future__ import annotations

import io
import json
import random
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from embrm.cli import run
from embrm.core.trajectory import Step, Trajectory
from embrm.study import claims
from tests import simulated_claims
from tests.tiny_models import causal_lm, reward_model

GOOD = ["correct", "step", "clear", "useful", "precise", "tested", "works"]
BAD = ["wrong", "vague", "never", "maybe", "nothing", "useless", "broken"]


@dataclass
class Result:
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


def answer(quality: float, rng: random.Random) -> str:
    words = [rng.choice(GOOD if rng.random() < quality else BAD) for _ in range(12)]
    return f"{' '.join(words)} {rng.random():.6f}"


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_run(folder: Path, *, steps: int, turn: int) -> None:
    """Write a run whose texts are like the pairs' until the step `turn`, and another kind of text from there on."""
    rng = random.Random(1)
    run = Trajectory(folder)
    for t in range(steps):
        texts = [answer(0.2 + 0.6 * (i % 2), rng) if t < turn else f"zzz qqq {t} {i}" for i in range(8)]
        sample = [{"prompt": f"How do I mend fan {t} {i}?", "text": text} for i, text in enumerate(texts)]
        gold = float(min(t, turn) - 2 * max(t - turn, 0))
        run.add(Step(t, t / 10, 1.0, float(t), gold, {"words": 12.0}, [0.0], sample))


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("cli")
    folder = made / "files"
    folder.mkdir()
    rng = random.Random(0)
    pairs = [
        {"prompt": f"How do I mend lamp {i // 2}?", "chosen": answer(0.8, rng), "rejected": answer(0.2, rng)}
        for i in range(80)
    ]
    write_lines(folder / "prefs.jsonl", pairs)
    write_lines(folder / "votes.jsonl", [{**pair, "annotator": "ab"[i % 2]} for i, pair in enumerate(pairs)])
    for name, quality in (("tuned", 0.9), ("base", 0.4)):
        rows = [{"prompt": f"How do I mend lamp {i // 3}?", "response": answer(quality, rng)} for i in range(60)]
        write_lines(folder / f"{name}.jsonl", rows)
    shutil.copy(folder / "tuned.jsonl", folder / "texts.jsonl")
    steps = [
        {"prompt": row["prompt"], "completions": [row["chosen"], row["rejected"]], "labels": [True, False]}
        for row in pairs
    ]
    write_lines(folder / "traces.jsonl", steps)
    more = [[f"How do I mend fan {i}?", answer(0.8, rng), answer(0.2, rng)] for i in range(60)]
    swapped = [[asked, *texts[:: rng.choice([1, -1])]] for asked, *texts in more]
    write_lines(
        folder / "more.jsonl", [dict(zip(("prompt", "chosen", "rejected"), row, strict=True)) for row in swapped]
    )
    write_lines(folder / "rewardbench.jsonl", [{**pair, "subset": "donotanswer"} for pair in pairs])
    pools = []
    for i in range(20):
        gold = [rng.random() for _ in range(6)]
        responses = [answer(g, rng) for g in gold]
        policy = [f"p{j}" for j in range(6)]
        pools.append({"id": f"q{i}", "prompt": f"How do I clean pot {i}?", "responses": responses, "gold": gold})
        pools[-1]["policy"] = policy
    write_lines(folder / "pools.jsonl", pools)
    write_lines(folder / "prompts.jsonl", [{"id": f"p{i}", "prompt": f"How do I mend lamp {i}?"} for i in range(3)])
    studied = simulated_claims.trial("C15", holds=True, number=0)
    simulated_claims.write_study(studied, folder / "runs" / "study")
    claims.write(claims.findings(studied), folder / "runs" / "study", rows=studied.digest)
    (folder / "expected.yaml").write_text("C15: supported\n", encoding="utf-8")
    causal_lm(folder / "lm")
    reward_model(folder / "rm")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        fit = ["fit", "prefs.jsonl", "--head", "linear", "--set", "members=3", "--embedder", "hashing"]
        assert run([*fit, "-o", "model"]) == 0
        by = ["fit", "votes.jsonl", "--head", "laplace", "--by", "annotator", "--embedder", "hashing"]
        assert run([*by, "-o", "annotators"]) == 0
        write_run(folder / "run", steps=12, turn=12)
        write_run(folder / "hacked", steps=12, turn=6)
        assert run(["score", "model", "pools.jsonl", "-o", "scores.jsonl"]) == 0
        for file, vectors in (("prefs.jsonl", "known.npy"), ("pools.jsonl", "new.npy")):
            assert run(["embed", file, "--embedder", "hashing", "-o", vectors]) == 0
    return made


@pytest.fixture
def workspace(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a fresh folder with a copy of what was made once; only the cache of embeddings is shared."""
    shutil.copytree(made / "files", tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMBRM_CACHE", str(made / "cache"))
    return tmp_path


@pytest.fixture
def embrm(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., Result]:
    def call(*args: str, stdin: bytes = b"") -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(stdin))))
        capsys.readouterr()
        try:
            code = run(args)
        except SystemExit as stop:
            code = int(stop.code or 0)
        printed = capsys.readouterr()
        return Result(code, printed.out, printed.err)

    return call
