"""The code of docs/extending.md and docs/comparing.md does what its text says."""

from __future__ import annotations

import json
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from embrm.cli import run
from embrm.core.data import Pairs
from embrm.core.results import Reward
from embrm.heads import Head
from embrm.study.claims.define import CLAIMS
from embrm.study.config import load_config, parse
from embrm.study.datasets import DatasetConfig, open_dataset
from embrm.study.experiments import ExperimentSetting
from embrm.study.metric import Metric
from embrm.study.results import Cell, Results, Row
from embrm.world.mechanism import Mechanism
from tests.small_study import write_pool

TEXT = (Path(__file__).resolve().parents[1] / "docs" / "extending.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", TEXT, flags=re.MULTILINE | re.DOTALL)
PYTHON = {  # heading → the blocks below it
    heading: re.findall(r"^```python\n(.*?)^```", section, flags=re.MULTILINE | re.DOTALL)
    for heading, section in re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", TEXT, flags=re.MULTILINE | re.DOTALL)
}
YAML = [block for language, block in BLOCKS if language == "yaml"]


def scope(block: str, name: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, object]:
    """Run a block as the module that it would be."""
    module = types.ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    exec(compile(block, "extending.md", "exec"), module.__dict__)
    return module.__dict__


def test_the_head_learns_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    made = scope(PYTHON["A head"][0], "embrm.heads.centroid", monkeypatch)
    recipe = made["Centroid"]()  # type: ignore[operator]
    assert isinstance(recipe, Head)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 5))
    first = x[::2, 0] > x[1::2, 0]
    rows = np.arange(0, 400, 2)
    pairs = Pairs.from_arrays(x, chosen=rows + ~first, rejected=rows + first, prompt=np.repeat(np.arange(100), 4))
    model = recipe.fit(pairs, seed=0)
    reward = model.score(x).mean
    assert (reward[pairs.chosen] > reward[pairs.rejected]).mean() > 0.85
    assert abs(model.score(x).centred().mean[np.r_[pairs.chosen, pairs.rejected]].mean()) < 1e-9
    again = recipe.restore(model.state())
    np.testing.assert_array_equal(again.score(x).mean, reward)


def test_the_detectors_notice_a_shift_and_raise_alarms(monkeypatch: pytest.MonkeyPatch) -> None:
    median, drift, along = PYTHON["A detector"]
    rng = np.random.default_rng(1)
    reference, clean, shifted = (rng.normal(size=(n, 3)) for n in (400, 120, 80))
    shifted[:, 0] += 3
    steps = [*clean.reshape(6, 20, 3), *shifted.reshape(4, 20, 3)]
    first_alarm: Any = scope(along, "along", monkeypatch)["first_alarm"]
    for block, name in ((median, "Median"), (drift, "Drift")):
        made: Any = scope(block, f"embrm.detectors.{name.lower()}", monkeypatch)[name]
        fitted = made().fit(reference, seed=0)
        usual, odd = fitted.check(clean), fitted.check(shifted)
        assert odd.detector == name.lower()
        assert usual.details["p_value"] > 0.01
        assert odd.details["p_value"] <= 0.001
        assert odd.scores.mean() > usual.scores.mean()
        assert first_alarm(made(), reference, steps) in (6, 7)
        assert first_alarm(made(), reference, steps[:6]) is None
    np.testing.assert_allclose(odd.statistic, np.linalg.norm(shifted.mean(axis=0) - reference.mean(axis=0)))


def test_the_claim_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    made = scope(PYTHON["A claim"][0], "my_package.claims", monkeypatch)
    claim = CLAIMS.pop("averaging")
    assert claim.measure is made["averaged"]
    config = parse({"seeds": [0, 1, 2], "pairs": [500], "datasets": [{"name": "d"}], "heads": [{"name": "warm"}]})
    rng = np.random.default_rng(0)

    def row(seed: int) -> Row:
        gold = rng.normal(size=(12, config.kl_points)) * 0.1
        arrays = {Metric("path", "mean"): gold + 1.0, Metric("path", "branches"): gold}
        return Row(Cell("fit", "d", "warm", 500, "biased", 0.25, seed), str(seed), arrays=arrays)

    (found,) = claim(Results(config, [row(seed) for seed in range(3)]), "d")
    assert found.verdict == "supported"
    assert found.effect == pytest.approx(1.0)
    assert [found.verdict for found in claim(Results(config, []), "d")] == ["not run"]


def test_the_experiment_measures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EMBRM_CACHE", str(tmp_path / "cache"))
    made: Any = scope(PYTHON["An experiment"][0], "embrm.study.experiments.repeats", monkeypatch)["Repeats"]
    pool = write_pool(tmp_path / "pool.jsonl")
    data = open_dataset(DatasetConfig(name="pool", kind="pool", pool=str(pool), embedder="hashing"))
    found = made(times=1).measure(ExperimentSetting(data, Mechanism(), 0.0, 60, 0))["best"]
    assert data.gold is not None
    assert len(found.values) == len(data.pool_offsets) - 1
    assert found.values.mean() > data.gold[data.pool_rows].mean() + 0.1


def test_the_rule_chooses_and_has_a_curve(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = scope(PYTHON["A rule"][0], "embrm.selectors.among_best", monkeypatch)["AmongBest"](k=2)  # type: ignore[operator]
    value = np.array([0.0, 3.0, 1.0, 2.0, 5.0, 4.0, 6.0])
    reward, offsets = Reward(value[None], "point"), np.array([0, 4, 7])
    choice = rule(reward, offsets=offsets, seed=0)
    np.testing.assert_array_equal(choice.probability, [0, 0.5, 0, 0.5, 0.5, 0, 0.5])
    curve = rule.curve(reward, value, [1, 2, 3], offsets=offsets, seed=0)
    # Of two either is taken; of the second pool's three 5 or 6; of three of the first the smallest is left out.
    np.testing.assert_allclose(curve.gold[:2], [3.25, 3.25])
    np.testing.assert_allclose(curve.gold_per_prompt[1, 2], 5.5)
    assert abs(curve.gold_per_prompt[0, 2] - 2.125) < 0.2


def test_the_configuration_extends_another(tmp_path: Path) -> None:
    (block,) = (block for block in YAML if block.startswith("extends:"))
    path = tmp_path / "mine.yaml"
    path.write_text(block, encoding="utf-8")
    mine, base = load_config(str(path)), load_config("laptop")
    assert (mine.seeds, mine.rl, mine.pairs) == ([0, 1], None, base.pairs)
    assert mine.titles == [*(title for title in base.titles if title != "hmc"), "wide mlp"]


@pytest.mark.slow
def test_the_data_sets_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    words = ["bread", "yeast", "water", "flour", "salt", "oven", "warm", "slow", "rest", "knead", "fold", "bake"]
    pools, prefs = [], []
    for i in range(90):
        answers = [" ".join(rng.choice(words, size=rng.integers(4, 12))) for _ in range(10)]
        gold = [float(a.count("warm") - a.count("salt") + 0.01 * j) for j, a in enumerate(answers)]
        pools.append({"id": str(i), "prompt": f"Question {i}?", "responses": answers, "gold": gold})
        prefs.append({"prompt": f"Question {i}?", "chosen": f"warm {answers[0]}", "rejected": f"salt {answers[1]}"})
    for name, rows in (("pool", pools), ("prefs", prefs)):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    every = [yaml.safe_load(block)["datasets"] for block in YAML if block.startswith("datasets:")]
    datasets = [values for values in every if values[0]["kind"] != "fast"]  # the world's own needs no file
    assert {values[0]["kind"] for values in datasets} == {"pool", "files"}
    for values in datasets:
        values[0]["embedder"] = "hashing"
        changed = [
            "seeds=[0]",
            "pairs=[60]",
            "tuning.budget=1",
            "mechanisms={fair: {}}",
            "flips=[0.0]",
            "detection.heads=[]",
        ]
        changed += ["heads=[{name: linear}]", "rules=[{name: mean}]"]
        sets = [part for value in (f"datasets={json.dumps(values)}", *changed) for part in ("--set", value)]
        output = tmp_path / str(values[0]["kind"])
        assert run(["study", "--config", "ci", *sets, "--workers", "1", "-o", str(output)]) == 0
        results = Results.load(output)
        assert {row.cell.kind for row in results.rows} == {"control", "tuning", "fit"}


def test_the_comparison_runs(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(__file__).resolve().parents[1]
    monkeypatch.chdir(root)
    text = (root / "docs" / "comparing.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)
    found: Any = scope(block, "comparing", monkeypatch)["found"]
    assert capsys.readouterr().out.startswith(str(found.ranked))
    assert found.lines["small"].seen[0].p.shape == (found.pairs,)
