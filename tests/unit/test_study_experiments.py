"""Experiments of a study: found by name, refused before any work where they cannot be, resumed, and read by claims."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from embrm import cli
from embrm.errors import DataError, OptionError, UnknownNameError
from embrm.study import experiments
from embrm.study.claims import Case, Cells, DatasetFits, MissingError, Of
from embrm.study.config import StudyConfig, parse
from embrm.study.config_absent import without_absent
from embrm.study.experiments import PerPrompt
from embrm.study.metric import Metric
from embrm.study.results import Results
from embrm.study.runner.extension import with_more_seeds
from embrm.study.runner.plan import plan
from embrm.study.runner.run import run
from tests.small_study import on_pool, write_config, write_pool

GUESS = '''
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from embrm.study.experiments import Experiment, ExperimentSetting, PerPrompt

@dataclass(frozen=True, kw_only=True)
class Guess(Experiment):
    """The best of so many, and how many pairs it saw."""

    kinds: ClassVar[tuple[str, ...]] = ("pool",)
    core_seconds: ClassVar[float] = 7.0
    scale: float = 1.0

    def measure(self, setting):
        data = setting.data
        gold = data.gold[data.pool_rows].reshape(len(data.pool_offsets) - 1, -1)
        clusters = np.arange(len(gold)) // 2
        seen = np.full(3, float(len(setting.training())))
        best = self.scale * gold.max(axis=1) + setting.seed
        return {"best": PerPrompt(best, clusters), "seen": PerPrompt(seen, np.arange(3))}
'''
METRIC = Metric("experiment", "guess.best")


@pytest.fixture
def pool(install: Callable[[str, str, str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a small pool, with the experiment `guess` installed."""
    monkeypatch.setenv("EMBRM_CACHE", str(tmp_path / "cache"))
    install("stranger_guess", GUESS, "[embrm.experiments]\nguess = stranger_guess:Guess\n")
    return write_pool(tmp_path / "lamps.jsonl")


def asked(pool: Path, **fields: Any) -> dict[str, Any]:
    """Return the values of a study of one head and one experiment in four cells."""
    head = {"name": "linear", "tuned": False, "mechanisms": ["fair"], "rules": ["mean"]}
    return on_pool(pool, heads=[head], experiments=[{"name": "guess", **fields}])


def cells_of(results: Results) -> Cells:
    """Return what a claim about fair annotators reads."""
    return Cells(DatasetFits(results, "lamps"), 200, Case("fair", 0.25))


def test_an_experiment_is_found_by_name(pool: Path) -> None:
    assert "guess" in experiments.names()
    assert experiments.describe("guess") == "The best of so many, and how many pairs it saw."


def test_its_cells_are_measured_once_and_claims_read_them(pool: Path, tmp_path: Path) -> None:
    config = parse(asked(pool))
    results = run(config, tmp_path / "run", workers=1)
    assert not results.failures
    rows = list(results.select(kind="experiment"))
    assert [(row.cell.mechanism, row.cell.seed) for row in rows] == [
        ("biased", 0),
        ("biased", 1),
        ("fair", 0),
        ("fair", 1),
    ]
    assert (rows[0].arrays[Metric("experiment", "guess.seen")] == 60).all()
    cells = cells_of(results)
    (gathered,) = cells.gather(Of("guess", METRIC))
    assert np.allclose(gathered[:, 1] - gathered[:, 0], 1.0)
    assert np.array_equal(cells.clusters(METRIC), np.arange(len(gathered)) // 2)
    assert cells.mean(gathered, cells.clusters(METRIC)).clusters == len(gathered) // 2
    assert str(cells.settings[0]) == "60 pairs, fair, 25 % flips, 2 seeds"
    with pytest.raises(MissingError, match=r"has no 'experiment\.guess\.worst' under 'fair'"):
        cells.gather(Of("guess", Metric("experiment", "guess.worst")))

    table = pq.read_table(tmp_path / "run" / "results.parquet").to_pylist()
    lines = [line for line in table if line["metric"] == "experiment.guess.best" and line["mechanism"] == "fair"]
    assert [line["value"] for line in lines] == pytest.approx(gathered.mean(axis=0).tolist())

    again = run(config, tmp_path / "run", workers=1)
    assert again.digest == results.digest
    seeded = plan(with_more_seeds(config, 1)).keys
    other = plan(parse(asked(pool, options={"scale": 2.0}))).keys
    for cell, key in plan(config).keys.items():
        assert seeded[cell] == key
        assert (other[cell] == key) == (cell.kind != "experiment")


def test_one_that_fails_leaves_the_rest(pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measure(self: object, setting: object) -> dict[str, PerPrompt]:
        raise DataError("no luck")

    monkeypatch.setattr(experiments.get("guess"), "measure", measure)
    results = run(parse(asked(pool, mechanisms=["fair"], seeds=[1])), tmp_path / "run", workers=1)
    assert results.failures == {"lamps: experiment of guess, 60 pairs, fair, flips 0.25, seed 1": "no luck"}
    assert len(list(results.select(kind="fit"))) == 2


def test_the_forecast_counts_its_cells_and_costs(
    pool: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    titled = {"a guess": {"name": "guess", "seeds": [5], "flips": [0.0]}}
    file = write_config(tmp_path / "mine.yaml", asked(pool) | {"experiments": titled})
    assert cli.run(["study", "--config", str(file), "-o", str(tmp_path / "r"), "--dry-run", "--json"]) == 0
    line = next(line for line in json.loads(capsys.readouterr().out)["by_head"] if line["kind"] == "experiment")
    assert line == {"kind": "experiment", "head": "a guess", "cells": 2, "core_seconds": 14.0}


def test_a_part_of_a_study_can_leave_it_out(pool: Path) -> None:
    whole = plan(parse(asked(pool)))
    assert {cell.kind for cell in whole.only(frozenset({"guess"})).keys} == {"control", "experiment"}
    assert {cell.kind for cell in whole.only(frozenset({"lin*"})).keys} == {"control", "fit"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"options": {"scal": 2}}, r"experiment 'guess': .*no option 'scal'. Did you mean 'scale'\?"),
        ({"options": {"scale": "much"}}, "experiment 'guess': experiment 'guess': scale: .*'much'"),
        ({"datasets": ["lamp"]}, r"experiment 'guess': datasets: no 'lamp'. Did you mean 'lamps'\?"),
        ({"mechanisms": ["unfair"]}, r"experiment 'guess': mechanisms: no 'unfair'. Did you mean 'fair'\?"),
        ({"title": "linear"}, "heads and experiments: linear is there twice"),
        ({"pairz": [5]}, r"no key 'experiments.0.pairz'. Did you mean 'pairs'\?"),
    ],
)
def test_what_cannot_be_is_refused(pool: Path, fields: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        parse(asked(pool, **fields))


def test_an_unknown_one_and_a_data_set_that_cannot_serve_are_told_before_any_work(pool: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"no experiment named 'gues'. Did you mean 'guess'\?"):
        parse(on_pool(pool, experiments=[{"name": "gues"}]))
    both = [*on_pool(pool)["datasets"], {"name": "world", "embedder": "hashing"}]
    with pytest.raises(OptionError, match="data set 'world' is of kind 'world', and this is made on pool; name those"):
        parse(asked(pool) | {"datasets": both})
    assert parse(asked(pool, datasets=["lamps"]) | {"datasets": both}).experiments[0].label == "guess"


def test_what_is_taken_out_takes_its_experiments_along(pool: Path) -> None:
    before = parse(asked(pool, mechanisms=["biased"]))
    values = asked(pool) | {"mechanisms": {"fair": {}}, "experiments": [{"name": "guess", "mechanisms": ["biased"]}]}
    changed, left = without_absent(StudyConfig.model_validate(values), before)
    assert changed.experiments == []
    assert "experiment 'guess'" in left


def test_a_measurement_has_a_cluster_for_each_prompt() -> None:
    with pytest.raises(DataError, match=r"got shapes \(3,\) and \(2,\)"):
        PerPrompt(np.zeros(3), np.zeros(2, dtype=np.int64))
