"""More seeds for a run that is there, and what it would take to decide what a run left open."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from embrm.errors import DataError, OptionError
from embrm.study.config import parse
from embrm.study.results import Results
from embrm.study.runner.extension import check_same, with_more_seeds
from embrm.study.runner.needs import needs
from embrm.study.runner.run import run
from tests.small_study import on_pool, write_pool


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Results:
    folder = tmp_path_factory.mktemp("extension")
    config = parse(on_pool(write_pool(folder / "lamps.jsonl")))
    return run(config, folder / "run", workers=1)


def test_more_seeds_leave_what_is_there_as_it_is(finished: Results, tmp_path: Path) -> None:
    folder = finished.folder
    assert folder is not None
    before = {file: file.stat().st_mtime_ns for file in (folder / "cells").iterdir()}
    more = run(with_more_seeds(finished.config, 2), folder, workers=1)
    assert more.config.seeds == [0, 1, 2, 3]
    assert {file: file.stat().st_mtime_ns for file in before} == before
    assert not more.failures
    fits = [row.cell for row in more.rows if row.cell.kind == "fit"]
    assert len(fits) == 2 * sum(row.cell.kind == "fit" for row in finished.rows)
    assert len(more.rows) == len(finished.rows) + len(fits) // 2  # options and controls are not made again
    whole = run(more.config, tmp_path / "whole", workers=1)
    for ours, theirs in zip(more.rows, whole.rows, strict=True):
        assert (ours.cell, ours.key) == (theirs.cell, theirs.key)
        assert ours.numbers == pytest.approx(theirs.numbers, abs=5e-3)  # fits depend by up to 1e-3 on their batch


def test_another_configuration_is_refused_with_the_difference(finished: Results) -> None:
    config = finished.config
    check_same(config.model_copy(update={"seeds": [7]}), config)
    with pytest.raises(
        OptionError, match=r"flips\.0 is 0\.25 there, asked for 0\.1; tuning\.budget is 2 there, asked for 5"
    ):
        check_same(
            config.model_copy(update={"flips": [0.1], "tuning": config.tuning.model_copy(update={"budget": 5})}), config
        )
    with pytest.raises(
        OptionError, match="heads is 2 entries there, asked for 1 entries; leave --config and --set out"
    ):
        check_same(config.model_copy(update={"heads": config.heads[:1]}), config)
    with pytest.raises(OptionError, match="more seeds must be >= 1, got 0"):
        with_more_seeds(config, 0)


def test_what_an_open_claim_needs_is_what_its_heads_cost_times_its_factor(finished: Results) -> None:
    assert finished.folder is not None
    row = {"dataset": "lamps", "clusters": 8, "seeds": 2, "mechanism": "", "channel": "", "defence": ""}
    found = [
        row | {"id": "C16", "holm": "inconclusive", "needed": 2.5, "mechanism": "biased", "channel": "bon"},
        row | {"id": "C2", "holm": "supported", "needed": None},
        row | {"id": "C3", "holm": "inconclusive", "needed": None},
        row | {"id": "C15", "holm": "not run", "needed": None},
    ]
    for line in found:  # alone a verdict may be decided that is not among many
        line["verdict"] = line["holm"] if line["holm"] == "not run" else "supported"
    with pytest.raises(DataError, match=r"claims\.json is not there; run `embrm study` to its end"):
        needs(finished)
    (finished.folder / "claims.json").write_text(json.dumps(found), encoding="utf-8")
    open_one, decided, hopeless = needs(finished)
    assert (open_one.claim, open_one.times, open_one.clusters, open_one.seeds) == ("C16 biased bon", 2.5, 20, 5)
    mlp = [r.seconds for r in finished.rows if (r.cell.kind, r.cell.head, r.cell.mechanism) == ("fit", "mlp", "biased")]
    assert open_one.core_seconds == pytest.approx(sum(2.5 * s["fit"] + 2.5**2 * s["measure"] for s in mlp))
    assert (decided.times, decided.clusters) == (1.0, 8)
    assert (hopeless.claim, hopeless.times, hopeless.core_seconds) == ("C3", None, None)
