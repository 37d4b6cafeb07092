"""`embrm study`: what it would do, what it did, and what it refuses."""

from __future__ import annotations

import json
import os
import re
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from embrm.report import study
from embrm.study import claims
from embrm.study.results import Results
from tests.cli.conftest import Result
from tests.small_study import on_pool, write_config, write_pool

Embrm = Callable[..., Result]


@pytest.fixture
def config(workspace: Path) -> str:
    write_config(workspace / "study.yaml", on_pool(write_pool(workspace / "lamps.jsonl")))
    return "study.yaml"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("run") / "kept"


@pytest.fixture
def finished(embrm: Embrm, config: str, workspace: Path, folder: Path) -> Path:
    """Run the study, once for all tests, and return a copy of its folder."""
    if not folder.exists():
        done = embrm("study", "--config", config, "-o", "studied", "--workers", "1")
        assert done.code == 0, done.err
        shutil.copytree("studied", folder)
    return Path(shutil.copytree(folder, workspace / "studied", dirs_exist_ok=True))


def test_a_dry_run_counts_and_writes_nothing(embrm: Embrm, config: str) -> None:
    done = embrm("study", "--config", config, "-o", "new", "--dry-run", "--workers", "3")
    assert done.code == 0
    assert done.out.splitlines()[-1].startswith("12 cells, 6 fits; what is missing takes about ")
    assert done.out.rstrip().endswith("s with 3 workers")
    assert not Path("new").exists()
    done = embrm("study", "--config", config, "-o", "new", "--dry-run", "--json", "--set", "seeds=[0]", "--seed", "7")
    assert (done.json["cells"], done.json["fits"]) == (9, 3)
    assert {line["head"] for line in done.json["by_head"] if line["kind"] == "fit"} == {"linear", "mlp"}
    assert done.json["core_seconds"] == pytest.approx(sum(line["core_seconds"] for line in done.json["by_head"]))


def test_a_part_of_a_study_counts_only_its_own_cells(embrm: Embrm, config: str) -> None:
    done = embrm("study", "--config", config, "-o", "part", "--workers", "1", "--only", "C14")
    assert done.code == 0, done.err
    told = re.search(r"engine local: (\d+) of 12 cells", Path("part/log.txt").read_text(encoding="utf-8"))
    assert told is not None
    assert int(told[1]) == len(list(Path("part/cells").glob("*.npz"))) < 12
    assert f"{told[1]} of {told[1]} cells" in done.err
    assert done.err.rstrip().endswith("about 0 s to go")


def test_a_run_says_where_it_wrote_and_another_finds_nothing_to_do(embrm: Embrm, finished: Path, config: str) -> None:
    names = {path.name for path in finished.iterdir()}
    assert {"config.json", "results.parquet", "timings.parquet", "claims.json", "report.html", "log.txt"} <= names
    before = {file: file.stat().st_mtime_ns for file in finished.rglob("*") if file.is_file() and file.stem != "lock"}
    done = embrm("study", "--config", config, "-o", "studied", "--json")
    assert done.code == 0
    assert (done.json["rows"], done.json["fits"], done.json["failures"]) == (12, 6, {})
    assert done.json["report"] == "studied/report.html"
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_an_old_report_is_never_that_of_new_rows(embrm: Embrm, finished: Path, config: str) -> None:
    before = Results.load(finished).digest
    assert study.rows_of(finished) == claims.rows_of(finished) == before
    next((finished / "cells").glob("*.npz")).unlink()
    ahead = time.time() + 3600
    for name in ("report.html", "claims.json"):
        os.utime(finished / name, (ahead, ahead))
    done = embrm("study", "--config", config, "-o", "studied", "--workers", "1")
    assert done.code == 0, done.err
    after = Results.load(finished).digest  # its times differ, and so do the seconds of the whole
    assert after != before
    assert study.rows_of(finished) == claims.rows_of(finished) == after


def test_the_time_is_foretold_from_what_a_run_took(embrm: Embrm, finished: Path, config: str) -> None:
    done = embrm("study", "--config", config, "-o", "studied", "--dry-run", "--json")
    assert done.json["core_seconds"] == 0
    import pyarrow.parquet as pq

    timings = pq.read_table(finished / "timings.parquet").to_pylist()
    taken = sum(line["seconds"] for line in timings if (line["kind"], line["head"]) == ("fit", "linear"))
    for path in (finished / "cells").iterdir():
        path.unlink()
    done = embrm("study", "--config", config, "-o", "studied", "--dry-run", "--json")
    (linear,) = (line for line in done.json["by_head"] if (line["kind"], line["head"]) == ("fit", "linear"))
    assert linear["core_seconds"] == pytest.approx(taken)


@pytest.mark.slow
def test_a_plan_says_what_is_open_and_more_seeds_extend_the_run(embrm: Embrm, finished: Path, config: str) -> None:
    planned = embrm("study", "studied", "--plan", "--json")
    assert planned.code == 0, planned.err
    judged = json.loads((finished / "claims.json").read_text(encoding="utf-8"))
    assert len(planned.json["needs"]) == sum(row["verdict"] != "not run" for row in judged) > 0
    before = {file.name for file in (finished / "cells").iterdir()}
    other = embrm("study", "studied", "--more-seeds", "1", "--config", config, "--set", "flips=[0.1]")
    assert (other.code, other.out) == (2, "")
    assert "the run has another configuration: flips.0 is 0.25 there, asked for 0.1" in other.err
    done = embrm("study", "studied", "--more-seeds", "1", "--workers", "1")
    assert done.code == 0, done.err
    assert "15 cells, 9 fits" in done.out
    assert before < {file.name for file in (finished / "cells").iterdir()}
    assert json.loads((finished / "config.json").read_text(encoding="utf-8"))["config"]["seeds"] == [0, 1, 2]


def test_seeds_are_shifted_everywhere(embrm: Embrm, config: str, workspace: Path) -> None:
    heads = [{"name": "linear", "seeds": [3], "tuned": False}]
    write_config(
        workspace / "study.yaml", on_pool(workspace / "lamps.jsonl", heads=heads, mechanisms={"biased": {"bias": 1.0}})
    )
    done = embrm("study", "--config", config, "-o", "studied", "--seed", "10", "--workers", "1")
    assert done.code == 0, done.err
    stored = json.loads(Path("studied/config.json").read_text(encoding="utf-8"))["config"]
    assert (stored["seeds"], stored["heads"][0]["seeds"]) == ([10, 11], [13])
    assert "· 4 of 4 cells" in done.err


def test_failed_cells_are_named_and_the_rest_is_reported(embrm: Embrm, config: str) -> None:
    done = embrm("study", "--config", config, "-o", "studied", "--workers", "1", "--set", "heads.1.options.view=absent")
    assert done.code == 1
    assert "9 cells, 4 fits" in done.out
    assert "failed: lamps: tuning of mlp, 60 pairs, biased, flips 0.25, seed 1000003: no view 'absent'" in done.err
    assert "failed: lamps: fit of mlp, 60 pairs, biased, flips 0.25, seed 1: no options could be chosen" in done.err
    assert done.err.rstrip().endswith("error: 3 cells failed, see studied/log.txt")
    assert Path("studied/report.html").exists()


def test_only_one_claim(embrm: Embrm, config: str) -> None:
    done = embrm("study", "--config", config, "-o", "new", "--dry-run", "--only", "C99")
    assert done.code == 2
    assert "no claim named 'C99'. Did you mean 'C9'?" in done.err
    done = embrm("study", "--config", config, "-o", "new", "--dry-run", "--only", "C1", "--json")
    kinds = {line["head"]: line["cells"] for line in done.json["by_head"] if line["kind"] == "fit"}
    assert kinds == {"mlp": 2}


def test_a_full_device_and_files_that_are_no_folder_are_refused(embrm: Embrm, config: str) -> None:
    Path("file").touch()
    done = embrm("study", "--config", config, "-o", "file", "--workers", "1")
    assert done.code == 2
    assert "it is a file, and a folder is to be written" in done.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--set", "seedz=[1]"], 2, "no key 'seedz'. Did you mean 'seeds'?"),
        (["--set", "heads.0.nam=mlp"], 2, "no key 'heads.0.nam'. Did you mean 'name'?"),
        (["--set", "heads.0.name=lineal"], 2, "no head named 'lineal'. Did you mean 'linear'?"),
        (["--set", "tuning.budget=0"], 2, "tuning.budget: Input should be greater than or equal to 1, got 0"),
        (["--config", "laptob"], 2, "no configuration named 'laptob', and no such file."),
        (
            ["--set", "heads.1.rules=[worst_case]"],
            2,
            "head 'mlp' does not allow the rule 'worst_case': the rule",
        ),
        (["--set", "heads.1.rules=[worst]"], 2, "head 'mlp': rules: no 'worst'. Did you mean 'worst_case'?"),
        (["--set", "rl={heads: [mlp], dataset: lamps}"], 2, "rl.dataset (it must be one that can write new texts)"),
        (["--set", "datasets.0.pool=gone.jsonl"], 1, "gone.jsonl cannot be read: No such file"),
        (["--set", "datasets.0.pool=blind.jsonl"], 1, "blind.jsonl has no gold, which kind 'pool' makes its"),
        (["--set", "datasets.0.vectors=gone.npy"], 1, "gone.npy"),
        (["--workers", "0"], 2, "0 is not in the range x>=1"),
        (["--engine", "rai"], 2, "'rai' is not one of 'local', 'ray'"),
    ],
)
def test_bad_input_is_refused_before_any_work(
    embrm: Embrm, config: str, arguments: list[str], code: int, message: str
) -> None:
    write_pool(Path("blind.jsonl"), gold=False)
    done = embrm("study", "--config", config, "-o", "new", *arguments)
    assert (done.code, done.out) == (code, "")
    assert message in done.err
    assert "Traceback" not in done.err
    assert not list(Path("new").glob("cells/*"))


def test_a_run_of_another_version_is_refused(embrm: Embrm, finished: Path, config: str) -> None:
    stored: dict[str, Any] = json.loads((finished / "config.json").read_text(encoding="utf-8"))
    (finished / "config.json").write_text(json.dumps(stored | {"schema": 0}), encoding="utf-8")
    done = embrm("study", "--config", config, "-o", "studied")
    assert done.code == 1
    assert "was written by another version of embrm (schema 0" in done.err
