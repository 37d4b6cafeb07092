"""`embrm study --init`: what it writes is a study that runs, on preferences alone, on pools, and on both."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embrm.study.config import load_config
from embrm.study.metric import Metric
from embrm.study.results import Results
from tests.cli.conftest import Result, answer, write_lines
from tests.small_study import write_pool

Embrm = Callable[..., Result]
TINY = ("datasets.0.embedder=hashing", "seeds=[0]", "rules=[{name: mean}]", "detection.heads=[]")
HEADS = "heads=[{name: mlp, options: {epochs: 1}}, {name: mlp, title: mlp classification, options: {loss: classify}}]"
QUICK = [word for value in (*TINY, HEADS, "tuning.budget=1", "kl_points=5") for word in ("--set", value)]


def test_preferences_alone_become_a_study_of_accuracy_and_calibration(embrm: Embrm) -> None:
    done = embrm("study", "--init", "prefs.jsonl", "-o", "mine.yaml")
    assert done.code == 0, done.err
    assert done.out.splitlines() == [
        "40 prompts, 60 pairs to train on → mine.yaml",
        "next: embrm study --config mine.yaml",
    ]
    config = load_config("mine.yaml")
    assert (config.datasets[0].kind, config.datasets[0].pairs, config.datasets[0].pool) == ("files", "prefs.jsonl", "")
    assert config.pairs == [15, 60]
    assert all(set(head.pairs or config.pairs) <= {15, 60} for head in config.heads)
    done = embrm("study", "--config", "mine.yaml", *QUICK, "-o", "studied", "--workers", "1")
    assert done.code == 0, done.err
    results = Results.load(Path("studied"))
    assert results.failures == {}
    fits = list(results.select(kind="fit"))
    assert len(fits) == 2 * 2 * 2
    for row in fits:
        assert {metric.family for metric in row.arrays} == {"accuracy", "reliability"}
        assert {"nll", "ece"} <= row.numbers.keys()
        assert len(row.arrays[Metric("accuracy", "test")]) == 10  # a quarter of the prompts
    found = {line["id"]: line for line in json.loads(Path("studied/claims.json").read_text(encoding="utf-8"))}
    assert found["C16"]["verdict"] != "not run"
    assert found["C1"]["verdict"] == "not run"
    assert "that needs pools with gold, so give the data set a 'pool' whose rows have 'gold'" in found["C1"]["reason"]
    assert "<html" in Path("studied/report.html").read_text(encoding="utf-8")


@pytest.mark.slow
def test_pools_with_gold_become_a_study_of_policies(embrm: Embrm, workspace: Path) -> None:
    write_pool(workspace / "lamps.jsonl")
    assert embrm("study", "--init", "lamps.jsonl", "-o", "mine.yaml").code == 0
    config = load_config("mine.yaml")
    assert (config.datasets[0].kind, config.kl_end) == ("pool", 1.5)  # 0.7 log 8
    assert config.pairs == [84, 336]  # of 32 · 28 pairs three quarters, and of these half
    done = embrm("study", "--config", "mine.yaml", *QUICK, "-o", "studied", "--workers", "1")
    assert done.code == 0, done.err
    assert all(Metric("path", "mean") in row.arrays for row in Results.load(Path("studied")).select(kind="fit"))


@pytest.mark.parametrize("gold", [True, False])
def test_preferences_and_pools_go_together(gold: bool, embrm: Embrm, workspace: Path) -> None:
    pools = f"lamps-{gold}.jsonl"  # a process opens a data set of one description once
    write_pool(workspace / pools, gold=gold)
    done = embrm("study", "--init", pools, "--init", "prefs.jsonl", "-o", "mine.yaml", "--json").json
    assert (done["config"], done["kind"], done["gold"], done["sizes"]) == ("mine.yaml", "files", gold, [15, 60])
    data = load_config("mine.yaml").datasets[0]
    assert (data.name, data.pairs, data.pool) == ("prefs", "prefs.jsonl", pools)
    done = embrm("study", "--config", "mine.yaml", *QUICK, "--set", "pairs=[15]", "-o", "studied", "--workers", "1")
    assert done.code == 0, done.err
    for row in Results.load(Path("studied")).select(kind="fit"):
        assert (Metric("path", "mean") in row.arrays) == gold


def test_without_a_place_it_is_printed(embrm: Embrm, workspace: Path) -> None:
    printed = embrm("study", "--init", "prefs.jsonl").out
    assert embrm("study", "--init", "prefs.jsonl", "-o", "mine.yaml").code == 0
    assert printed == (workspace / "mine.yaml").read_text(encoding="utf-8")
    assert not (workspace / "runs" / "study" / "mine.yaml").exists()


def test_what_it_writes_is_planned_whole(embrm: Embrm) -> None:
    embrm("study", "--init", "prefs.jsonl", "-o", "mine.yaml")
    done = embrm("study", "--config", "mine.yaml", "--set", "datasets.0.embedder=hashing", "--dry-run", "--json")
    titles = load_config("mine.yaml").titles
    assert len(titles) >= 14
    assert done.json["fits"] == len(titles) * 2 * 2 * 3  # sizes, flips, seeds


def rows(prompts: int, **more: Any) -> list[dict[str, Any]]:
    rng = random.Random(0)
    return [
        {"prompt": f"How do I mend lamp {i}?", "chosen": answer(0.8, rng), "rejected": answer(0.2, rng), **more}
        for i in range(prompts)
    ]


def test_too_little_is_refused(embrm: Embrm, workspace: Path) -> None:
    write_lines(workspace / "few.jsonl", rows(15))
    done = embrm("study", "--init", "few.jsonl", "-o", "mine.yaml")
    assert (done.code, "few.jsonl has 15 prompts, and a study needs at least 16" in done.err) == (1, True)
    write_pool(workspace / "lamps.jsonl", gold=False)
    done = embrm("study", "--init", "lamps.jsonl", "-o", "mine.yaml")
    assert (done.code, "lamps.jsonl has no gold, so nothing says which" in done.err) == (1, True)
    same = [{"id": f"q{i}", "prompt": f"p{i}", "responses": ["a", "b"], "gold": [1, 1]} for i in range(20)]
    write_lines(workspace / "same.jsonl", same)
    done = embrm("study", "--init", "same.jsonl", "-o", "mine.yaml")
    assert (done.code, "there are 0 pairs to train on, and a study needs at least 10" in done.err) == (1, True)
    assert not Path("mine.yaml").exists()
