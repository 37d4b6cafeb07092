"""A study's folder is believed only as far as it can be checked, and what does not belong there stays."""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import tracemalloc
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from embrm.errors import DataError, EmbrmError
from embrm.report import study
from embrm.study import claims
from embrm.study.config import parse
from embrm.study.metric import Metric
from embrm.study.results import Cell, Results, Row
from embrm.study.runner.run import run
from tests.damaged_study import DAMAGES, damage
from tests.small_study import on_pool, write_pool


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Results]:
    folder = tmp_path_factory.mktemp("folder")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMBRM_CACHE", str(folder / "cache"))
        pool = write_pool(folder / "lamps.jsonl", prompts=16)
        heads = [{"name": "linear", "tuned": False, "rules": ["mean"]}]
        yield run(
            parse(on_pool(pool, pairs=[40], heads=heads, mechanisms={"biased": {"bias": 1.0}})),
            folder / "run",
            workers=1,
        )


@pytest.fixture
def copy(finished: Results, tmp_path: Path) -> Path:
    assert finished.folder is not None
    return Path(shutil.copytree(finished.folder, tmp_path / "run"))


def content(folder: Path) -> dict[str, bytes]:
    """Return the rows that can be read, by their keys, without their times."""
    known = {}
    for row in Results.load(folder).rows:
        known[row.key] = Row(row.cell, row.key, row.numbers, row.arrays, row.notes).digest()
    return known


def test_every_flipped_bit_of_a_row_is_told_or_harmless(copy: Path, finished: Results) -> None:
    path = copy / "cells" / f"{finished.rows[-1].key}.npz"
    whole, truth = path.read_bytes(), finished.rows[-1].digest()
    found = Counter[str]()
    for place in np.random.default_rng(0).integers(0, 8 * len(whole), 400).tolist():
        flipped = bytearray(whole)
        flipped[place // 8] ^= 1 << place % 8
        path.write_bytes(flipped)
        try:
            found["harmless" if Row.load(path).digest() == truth else "another row"] += 1
        except DataError as error:
            found["told" if str(error).startswith(f"{path} ") else "told without a path"] += 1
    assert found.keys() == {"harmless", "told"}
    assert found["told"] > 300  # the rest are dates and rights that a zip archive keeps, which nobody reads


def test_rows_that_changed_places_are_refused_and_computed_again(copy: Path, finished: Results) -> None:
    truth = content(copy)
    files = [copy / "cells" / f"{row.key}.npz" for row in finished.rows]
    for a, b in zip(files, [*files[1:], files[0]], strict=True):
        shutil.copy(a, b.with_suffix(".new"))
    for file in files:
        file.with_suffix(".new").replace(file)
    for file, row in zip(files, finished.rows, strict=True):
        with pytest.raises(DataError, match=r"is damaged \(it holds the row [0-9a-f]{24} under the name of another\)"):
            Row.load(file)
        assert row.key == file.stem
    with pytest.raises(DataError, match="under the name of another"):
        Results.load(copy)
    with pytest.warns(UserWarning, match="under the name of another.*; its row is computed again") as told:
        run(finished.config, copy, workers=1)
    assert len(told) == len(files)
    assert content(copy) == truth
    assert "under the name of another" in (copy / "log.txt").read_text(encoding="utf-8")


def test_a_row_of_another_cell_is_refused(copy: Path, finished: Results) -> None:
    (first, second) = [row for row in finished.rows if row.cell.kind == "fit"]
    Row(second.cell, first.key, first.numbers, first.arrays).save(copy / "cells")
    with pytest.warns(UserWarning, match="it says to be of lamps: fit of linear, .*seed 1"):
        run(finished.config, copy, workers=1)
    assert not Results.load(copy).failures


@pytest.mark.parametrize(
    ("row", "told"),
    [
        (Row(Cell("fit", "a", "b"), "k", arrays={Metric("bon", "mean"): np.zeros(3)}), r"'bon.mean' is of float64"),
        (Row(Cell("fit", "a", "b"), "k", arrays={Metric("sizes"): np.array(["x"])}), "'sizes' is of <U1"),
        (Row(Cell("fit", "a", "b"), "k", numbers={"x": "y"}), "'numbers' holds what is no number"),  # type: ignore[dict-item]
        (Row(Cell("fit", "a", 7), "k"), "its cell's head is 7"),  # type: ignore[arg-type]
    ],
)
def test_what_no_run_writes_is_no_row(row: Row, told: str, tmp_path: Path) -> None:
    row.save(tmp_path)
    with pytest.raises(DataError, match=told):
        Row.load(tmp_path / "k.npz")


def test_a_row_that_is_packed_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    """A few packed bytes would become 30 MB; what a run writes is as large as it is."""
    np.savez_compressed(tmp_path / "k.npz", np.zeros(30_000_000, dtype=np.uint8))
    tracemalloc.start()
    with pytest.raises(DataError, match=r"k\.npz is damaged \(it is packed\); remove it and run the study again"):
        Row.load(tmp_path / "k.npz")
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_what_does_not_belong_there_is_left_alone_and_told(copy: Path, finished: Results) -> None:
    cells, (lost, *_) = copy / "cells", finished.rows
    (cells / f"{lost.key}.npz").unlink()
    (cells / ".DS_Store").write_bytes(b"x")
    (cells / ".hidden").mkdir()
    (cells / ".hidden" / "thesis.tex").write_text("years", encoding="utf-8")
    (cells / f".{lost.key}.npz.abcdefgh-1").symlink_to(cells / ".hidden")
    with pytest.warns(UserWarning, match=r"holds what is no row of a study, and it was left alone: '.*\.DS_Store"):
        run(finished.config, copy, workers=1)
    assert (cells / ".hidden" / "thesis.tex").read_text(encoding="utf-8") == "years"
    assert (cells / ".DS_Store").exists()
    assert "'.hidden'" in (copy / "log.txt").read_text(encoding="utf-8")


def test_a_link_in_the_place_of_a_file_is_replaced_and_what_it_points_to_stays(
    copy: Path, finished: Results, tmp_path: Path
) -> None:
    """Who may write into the folder could point it at any file of whom the study belongs to."""
    thesis, new = tmp_path / "thesis.tex", tmp_path / "new.tex"
    thesis.write_text("years of work", encoding="utf-8")
    rows = [copy / "cells" / f"{row.key}.npz" for row in finished.rows[:2]]
    written = [*rows, copy / "claims.json", copy / "report.html", copy / "results.parquet"]
    for place, target in zip(written, (thesis, new, thesis, new, thesis), strict=True):
        place.unlink(missing_ok=True)
        place.symlink_to(target)
    with pytest.warns(UserWarning, match="computed again"):
        results = run(finished.config, copy, workers=1)
    found = claims.findings(results)
    claims.write(found, copy, rows=results.digest)
    study.write(results, copy, found)
    assert (thesis.read_text(encoding="utf-8"), new.exists()) == ("years of work", False)
    assert [path.is_symlink() for path in written] == [False] * len(written)
    assert content(copy) == content(finished.folder or copy)
    rows[0].unlink()
    for name in ("log.txt", "lock.txt"):
        (copy / name).unlink(missing_ok=True)
        (copy / name).symlink_to(new)
        with pytest.raises(DataError, match=f"{name} is no file"):
            run(finished.config, copy, workers=1)
        (copy / name).unlink()
    assert not new.exists()


def test_verdicts_carry_the_hash_of_all_that_was_measured(copy: Path) -> None:
    results = Results.load(copy)
    assert study.rows_of(copy) is claims.rows_of(copy) is None
    claims.write(claims.findings(results), copy, rows=results.digest)
    assert claims.rows_of(copy) == results.digest
    (row, *others) = results.rows
    for other in (
        Row(row.cell, row.key, {**row.numbers, "new": 1.0}, row.arrays, row.notes, row.seconds),
        Row(row.cell, row.key, row.numbers, {m: x + 1 for m, x in row.arrays.items()}, row.notes, row.seconds),
    ):
        changed = Results(results.config, [other, *others], results.failures, copy, results.environment)
        assert changed.digest != results.digest
    assert Results.load(copy).digest == results.digest


@pytest.mark.parametrize(
    "text", ["", "[1]", "null", '{"schema": 2}', '{"schema": 2, "config": {}, "keys": 3}', "[" * 100_000, "\x00"]
)
def test_a_damaged_config_says_that_rows_are_kept(text: str, copy: Path) -> None:
    (copy / "config.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"config.json.*: the rows are kept"):
        Results.load(copy)


def attack(folder: Path, finished: Results, number: int) -> str:
    """Damage a copy of the folder, take it up again and report on it; return what happened."""
    copy = Path(shutil.copytree(finished.folder or "", folder / str(number), symlinks=True))
    said = damage(copy, number)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results = run(finished.config, copy, workers=1)
            claims.findings(results)
            study.rows_of(copy)
            claims.rows_of(copy)
        outcome = "goes on"
    except EmbrmError as error:
        outcome = "told" if str(copy) in str(error) else f"{said}: {error}"
    for thesis in copy.rglob("thesis.tex"):
        assert thesis.read_text(encoding="utf-8") == "years of work"
    if outcome == "goes on" and content(copy) != content(finished.folder or copy):
        outcome = f"other rows after {said}"
    shutil.rmtree(copy)
    return outcome


@pytest.mark.skipif(sys.platform == "win32", reason="pipes and devices have no name in folders")
def test_damaged_folders_are_told_or_go_on(finished: Results, tmp_path: Path) -> None:
    found = Counter(attack(tmp_path, finished, number) for number in range(2 * len(DAMAGES)))
    assert set(found) <= {"told", "goes on"}, found
    assert threading.active_count() < 50


@pytest.mark.slow
def test_three_hundred_damaged_folders(finished: Results, tmp_path: Path) -> None:
    found = Counter(attack(tmp_path, finished, number) for number in range(int(os.environ.get("EMBRM_FUZZ", "300"))))
    print(json.dumps(found))
    assert set(found) <= {"told", "goes on"}, found
