"""A run writes what is missing, whatever happened before: a kill, a failure, another process, a full disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from embrm import Problem, heads
from embrm.errors import ConvergenceError, DataError, OptionError
from embrm.heads import FittedHead
from embrm.heads.linear import Linear
from embrm.study.config import parse
from embrm.study.metric import Metric
from embrm.study.results import Cell, Results, Row
from embrm.study.runner.costs import Costs, Remaining
from embrm.study.runner.lock import held
from embrm.study.runner.plan import CellBatch, opened, plan
from embrm.study.runner.run import kept_of, missing_of, run
from embrm.study.runner.sizes import SizeWarning
from embrm.world.mechanism import Mechanism
from tests.small_study import on_pool, on_world, write_pool


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMBRM_CACHE", str(folder / "cache"))
        yield write_pool(folder / "lamps.jsonl")


@pytest.fixture(scope="module")
def finished(pool: Path) -> Results:
    return run(parse(on_pool(pool)), pool.parent / "finished", workers=1)


@pytest.fixture
def copy(finished: Results, tmp_path: Path) -> Path:
    """Give a copy of the finished run."""
    assert finished.folder is not None
    return Path(shutil.copytree(finished.folder, tmp_path / "run"))


def table(folder: Path) -> bytes:
    return (folder / "results.parquet").read_bytes()


def test_every_cell_has_a_row_and_the_folder_says_how_it_came_about(finished: Results) -> None:
    assert finished.folder is not None
    assert [row.cell for row in finished.rows] == sorted(plan(finished.config).keys)
    assert not finished.failures
    again = Results.load(finished.folder)
    assert again.config == finished.config
    assert [row.key for row in again.rows] == [row.key for row in finished.rows]
    known = again.environment
    assert {"numpy", "torch", "embrm", "python"} <= set(known["versions"])
    assert known["workers"] == 1
    assert known["engine"] == "local"
    assert known["processor"]
    assert known["started"] <= known["finished"]
    assert known["seconds"] > 0
    log = (finished.folder / "log.txt").read_text(encoding="utf-8")
    assert "lamps: fit of mlp, 60 pairs, biased, flips 0.25, seed 0 and 1 more: 2 rows" in log


def test_the_table_says_the_means_of_the_rows(finished: Results) -> None:
    assert finished.folder is not None
    lines = pq.read_table(finished.folder / "results.parquet").to_pylist()
    found = {
        (line["metric"], line["place"]): line["value"]
        for line in lines
        if (line["kind"], line["head"], line["mechanism"], line["seed"]) == ("fit", "linear", "biased", 0)
    }
    (row,) = finished.select(kind="fit", head="linear", mechanism="biased", seed=0)
    assert found["accuracy.test", ""] == pytest.approx(row.arrays[Metric("accuracy", "test")].mean())
    assert found["bon.worst_case", "4"] == pytest.approx(row.arrays[Metric("bon", "worst_case")][:, 1].mean())
    assert found["path.mean", "0.5"] == pytest.approx(row.arrays[Metric("path", "mean")][:, 1].mean())
    assert found["spread.mean", "sd"] == row.arrays[Metric("spread", "mean")][0]
    assert found["members", ""] == 2
    assert not any(name.startswith(("sizes", "cloud")) for name, _ in found)
    timings = pq.read_table(finished.folder / "timings.parquet").to_pylist()
    assert {line["what"] for line in timings if line["kind"] == "fit"} == {"fit", "measure"}
    assert all(line["seconds"] > 0 for line in timings)


def test_fits_take_the_options_that_were_chosen_for_their_flips(finished: Results) -> None:
    (chosen,) = finished.select(kind="tuning", head="mlp")
    assert len(chosen.notes["trials"]) == 2
    assert "seconds" not in chosen.notes["trials"][0]
    (row,) = finished.select(kind="fit", head="mlp", seed=1)
    assert row.numbers["temperature"] == chosen.numbers["temperature"] != 1
    data = opened(finished.config.datasets[0])
    recipe = heads.Head.of(chosen.notes["best"])
    problems = [
        Problem(data.train(mechanism=Mechanism(bias=1.0), flips=0.25, pairs=60, seed=seed), seed) for seed in (0, 1)
    ]
    reward = recipe.fit_many(problems)[1].score(data.features).mean
    test = data.tests["test"]
    hit = 0.5 + 0.5 * np.sign(reward[test.chosen] - reward[test.rejected])
    np.testing.assert_allclose(row.arrays[Metric("accuracy", "test")].mean(), hit.mean(), rtol=1e-6)


def test_workers_change_nothing(finished: Results, tmp_path: Path) -> None:
    seen: list[tuple[float, float, str, float]] = []
    folder = tmp_path / "new"
    run(finished.config, folder, workers=2, progress=lambda *now: seen.append(now))
    assert finished.folder is not None
    assert table(folder) == table(finished.folder)
    assert [done for done, *_ in seen] == sorted(done for done, *_ in seen)
    assert seen[-1][0] == pytest.approx(seen[-1][1])
    assert seen[-1][2:] == ("12 of 12 cells", 0.0)
    assert all(0 < left < 100 for *_, left in seen[:-1])
    begun = (folder / "log.txt").read_text(encoding="utf-8").splitlines()[0]
    assert begun.endswith("begins with 2 workers, engine local: 12 of 12 cells")


def test_what_is_left_is_foretold_from_the_first_cell_on_and_corrected_by_what_cells_take(
    pool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Controls take 100 times what is foretold, fits twice that, and the clock one and a half times the processor."""
    config = parse(on_pool(pool))
    data, clock = config.datasets[0], 100.0
    controls, fits = (
        [CellBatch(kind, data, {Cell(kind, data.name, kind, seed=i): ""}) for i in range(n)]  # type: ignore[arg-type]
        for kind, n in (("control", 3), ("fit", 20))
    )
    costs = Costs(config, {("control", data.name, "control", 0): 0.01, ("fit", data.name, "fit", 0): 10.0})
    monkeypatch.setattr("time.monotonic", lambda: clock)
    remaining = Remaining(costs, [*controls, *fits], workers=2)
    assert remaining.seconds() == pytest.approx(100, rel=0.01)
    for batch, took in [(batch, 1.0) for batch in controls] + [(batch, 20.0) for batch in fits]:
        clock += took * 1.5 / 2
        remaining.finish(batch, [Row(cell, "", seconds={"fit": took}) for cell in batch.cells])
        done = fits.index(batch) + 1 if batch in fits else 0
        truth = (20 - done) * 20 * 1.5 / 2
        assert truth * (0.3 if done < 1 else 0.6 if done < 5 else 0.8) <= remaining.seconds() <= 1.2 * truth + 15
    assert remaining.seconds() == 0


def test_a_finished_run_is_left_as_it_is(copy: Path, finished: Results) -> None:
    before = {file: file.stat().st_mtime_ns for file in copy.rglob("*") if file.is_file() and file.stem != "lock"}
    again = run(finished.config, copy)
    assert [row.key for row in again.rows] == [row.key for row in finished.rows]
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_only_what_is_missing_is_measured(copy: Path, finished: Results) -> None:
    whole, rows = table(copy), sorted((copy / "cells").glob("*.npz"))
    (lost,) = finished.select(kind="fit", head="mlp", seed=1)
    path = copy / "cells" / f"{lost.key}.npz"
    path.unlink()
    (copy / "results.parquet").unlink()
    (copy / "cells" / f".{lost.key}.npz.abcdefgh-1").mkdir()  # what a killed write leaves
    kept = {file: file.stat().st_mtime_ns for file in rows if file != path}
    again = run(finished.config, copy, workers=1)
    assert table(copy) == whole
    assert sorted((copy / "cells").iterdir()) == rows
    assert {file: file.stat().st_mtime_ns for file in kept} == kept
    assert again.environment["seconds"] > finished.environment["seconds"]
    assert again.environment["started"] == finished.environment["started"]


def test_a_run_that_was_killed_before_its_tables_writes_them(copy: Path, finished: Results) -> None:
    whole = table(copy)
    (copy / "results.parquet").unlink()
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    config["environment"]["finished"] = None
    (copy / "config.json").write_text(json.dumps(config), encoding="utf-8")
    run(finished.config, copy, workers=1)
    assert table(copy) == whole


def test_another_configuration_takes_the_rows_that_it_shares(copy: Path, finished: Results, pool: Path) -> None:
    rows = {file: file.stat().st_mtime_ns for file in (copy / "cells").iterdir()}
    more = run(parse(on_pool(pool, pairs=[60, 50])), copy, workers=1)
    assert {file: file.stat().st_mtime_ns for file in rows} == rows
    assert len(more.rows) == len(rows) + 6
    assert more.environment["started"] >= finished.environment["finished"]


def test_a_part_of_a_study_can_come_first(finished: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from embrm.study import claims

    monkeypatch.setattr(claims, "heads_of", lambda name: {"C2": frozenset({"lin*"})}[name])
    part = run(finished.config, tmp_path / "run", workers=1, only=["C2"])
    assert {row.cell.head for row in part.rows} == {"linear", "oracle", "length", "random"}
    run(finished.config, tmp_path / "run", workers=1)
    assert finished.folder is not None
    assert table(tmp_path / "run") == table(finished.folder)


def test_a_failure_stays_with_its_cell(pool: Path, tmp_path: Path) -> None:
    faulty = {"name": "mlp", "options": {"view": "absent"}, "tuned": False, "mechanisms": ["biased"]}
    values = on_pool(pool, heads=[{"name": "linear", "tuned": False}, faulty])
    results = run(parse(values), tmp_path / "run", workers=1)
    assert {row.cell.head for row in results.rows if row.cell.kind == "fit"} == {"linear"}
    assert len(results.failures) == 2
    assert "no view 'absent'" in results.failures["lamps: fit of mlp, 60 pairs, biased, flips 0.25, seed 0"]
    assert "embrm.errors.DataError: no view 'absent'" in (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")
    assert Results.load(tmp_path / "run").failures == results.failures
    assert len(run(parse(values), tmp_path / "run", workers=1).failures) == 2  # tried again
    assert not run(
        parse(values | {"heads": values["heads"][:1]}), tmp_path / "run", workers=1
    ).failures  # not asked for


def test_sizes_that_a_data_set_cannot_give_are_known_before_the_first_cell(pool: Path, tmp_path: Path) -> None:
    pairs = [{"prompt": f"p{i // 3}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(120)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    data = {"name": "mine", "kind": "files", "pool": str(pool), "pairs": str(tmp_path / "pairs.jsonl")}
    values = on_pool(pool, datasets=[data | {"embedder": "hashing"}], tuning={"budget": 1, "pairs": 60})
    with pytest.warns(
        SizeWarning, match=r"'mine' has 90 training pairs \('own labels'\), so what asks for 1000 is left"
    ):
        found = plan(parse(values | {"pairs": [60, 1000]}))
    assert {cell.pairs for cell in found.keys if cell.kind == "fit"} == {60}
    with pytest.raises(
        DataError, match=r"has 90 training pairs .*asks for 100 or more; lower 'pairs', as by --set pairs=\[90"
    ):
        plan(parse(values | {"pairs": [100]}))
    thin = on_pool(pool, heads=[{"name": "linear"}], mechanisms={"thin": {"confounding": 4.0}})
    with pytest.raises(
        DataError, match=r"'lamps' has \d+ training pairs \('thin'\), and the study asks for 60 or more"
    ):
        plan(parse(thin))
    with pytest.raises(OptionError, match="a pool has no styles that could be unseen, got padding"):
        plan(parse(on_pool(pool, heads=[{"name": "linear"}], mechanisms={"narrow": {"unseen": ["padding"]}})))


def test_where_no_options_can_be_chosen_the_fits_say_so(pool: Path, tmp_path: Path) -> None:
    values = on_pool(pool, heads=[{"name": "linear", "options": {"view": "absent"}}])
    results = run(parse(values), tmp_path / "run", workers=1)
    assert {row.cell.kind for row in results.rows} == {"control"}
    assert len(results.failures) == 2 + 4
    why = results.failures["lamps: fit of linear, 60 pairs, fair, flips 0.25, seed 0"]
    assert "see the failure of its tuning" in why
    assert all("no view 'absent'" in why for cell, why in results.failures.items() if "tuning of" in cell)


def test_one_that_cannot_be_fitted_among_others_fails_alone(
    pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit_many = Linear.fit_many

    def moody(self: Linear, problems: Sequence[Problem]) -> list[FittedHead]:
        if any(problem.seed == 1 for problem in problems):
            raise ConvergenceError("the loss stopped being finite")
        return fit_many(self, problems)

    monkeypatch.setattr(Linear, "fit_many", moody)
    values = on_pool(pool, heads=[{"name": "linear", "tuned": False}], mechanisms={"biased": {"bias": 1.0}})
    results = run(parse(values), tmp_path / "run", workers=1)
    assert {row.cell.seed for row in results.rows if row.cell.kind == "fit"} == {0}
    failed = "lamps: fit of linear, 60 pairs, biased, flips 0.25, seed 1"
    assert results.failures == {failed: "the loss stopped being finite"}
    assert "fitted one by one, because together" in (tmp_path / "run" / "log.txt").read_text(encoding="utf-8")


def test_two_processes_cannot_work_on_one_folder(copy: Path, finished: Results) -> None:
    with (
        held(copy / "lock"),
        pytest.raises(DataError, match=rf"run is held by process {os.getpid()} on .+ since \d{{4}}-.+; wait until"),
    ):
        run(finished.config, copy)
    run(finished.config, copy)


def test_folders_that_are_no_study_or_of_another_version_are_refused(
    copy: Path, finished: Results, tmp_path: Path
) -> None:
    config = json.loads((copy / "config.json").read_text(encoding="utf-8"))
    (copy / "config.json").write_text(json.dumps(config | {"schema": 0}), encoding="utf-8")
    with pytest.raises(DataError, match=r"another version of embrm \(schema 0, this one has \d+\)"):
        run(finished.config, copy)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").touch()
    with pytest.raises(OptionError, match="it holds files that embrm did not write"):
        run(finished.config, other)
    with pytest.raises(OptionError, match="workers must be >= 1, got 0"):
        run(finished.config, tmp_path / "new", workers=0)
    with pytest.raises(OptionError, match="cell_timeout must be > 0 and finite, got -1"):
        run(finished.config, tmp_path / "new", cell_timeout=-1)
    assert set(tmp_path.iterdir()) == {copy, other}


def test_a_folder_that_was_killed_at_its_very_start_is_taken_up(finished: Results, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "lock").touch()
    run(finished.config, tmp_path / "run", workers=1)
    assert finished.folder is not None
    assert table(tmp_path / "run") == table(finished.folder)


def test_a_rule_that_was_asked_for_and_cannot_be_is_refused_before_any_work(pool: Path, tmp_path: Path) -> None:
    config = parse(on_pool(pool, heads=[{"name": "linear", "rules": ["worst_case"]}]))
    with pytest.raises(OptionError, match="head 'linear' does not allow the rule 'worst_case'"):
        run(config, tmp_path / "run", workers=1)
    assert not list((tmp_path / "run" / "cells").iterdir())


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a disk of 64 KiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False) if shutil.which("mount") else None
    if done is None or done.returncode:
        pytest.skip(f"no disk can be mounted here: {done.stderr.strip() if done else 'there is no mount'}")
    yield place
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk_stops_the_run_which_goes_on_when_there_is_room(finished: Results, small_disk: Path) -> None:
    folder = small_disk / "run"
    with pytest.raises(
        DataError, match=r"could not write (lamps|.+config.json): .+No space left on device; make room and run"
    ):
        run(finished.config, folder, workers=1)
    there = set((folder / "cells").glob("*.npz"))
    assert there
    subprocess.run(["mount", "-o", "remount,size=10m", str(small_disk)], check=True)
    results = run(finished.config, folder, workers=1)
    assert finished.folder is not None
    assert table(folder) == table(finished.folder)
    assert not results.failures
    assert there <= set((folder / "cells").glob("*.npz"))


def test_cells_whose_worker_died_are_named(pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values: dict[str, Any] = on_pool(
        pool, heads=[{"name": "linear", "tuned": False}], mechanisms={"biased": {"bias": 1.0}}
    )

    def dead(function: Any, jobs: Any, **others: Any) -> Iterator[Any]:
        yield from ((job, "died") for job in jobs)

    monkeypatch.setattr("embrm.study.runner.run.compute", dead)
    results = run(parse(values), tmp_path / "run", workers=1)
    assert len(results.failures) == 5
    assert "its worker died 3 times" in results.failures[str(Cell("control", "lamps", "oracle"))]


@pytest.mark.slow
def test_a_training_run_that_lacked_something_is_tried_again_by_a_run_alone(tmp_path: Path) -> None:
    live = {"heads": ["mlp"], "dataset": "world", "pairs": 100}
    whole = plan(parse(on_world(rl=live)))
    (batch,) = (batch for batch in whole.batches if batch.kind == "rl")
    ((cell, key),) = batch.cells.items()
    (tmp_path / "cells").mkdir()
    Row(cell, key, notes={"not_run": "pip install 'embrm[offline]'"}).save(tmp_path / "cells")
    assert (tmp_path / "cells" / f"{key}.npz").exists()
    assert batch in missing_of(whole, kept_of(whole, tmp_path, None, {}))
    Row(cell, key).save(tmp_path / "cells")
    assert batch not in missing_of(whole, kept_of(whole, tmp_path, None, {}))
