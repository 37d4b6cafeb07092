"""Rows from every format, and where they stood."""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embrm.core.files import check_output, check_writable, fingerprint, read_rows, sha256, write_folder, write_rows
from embrm.errors import DataError, MissingExtraError, OptionError

ROWS: list[dict[str, Any]] = [{"a": "é – 你好", "b": [1, 2.5]}, {"a": None, "b": [3.0]}]
LINES = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()


def parquet() -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(ROWS), out)
    return out.getvalue()


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.txt"])
@pytest.mark.parametrize(
    "content", [LINES, gzip.compress(LINES, mtime=0), b"\xef\xbb\xbf" + LINES, LINES.replace(b"\n", b"\r\n"), parquet()]
)
def test_the_format_is_told_from_the_content(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_rows(tmp_path / name).values == ROWS


def test_blank_lines_count_for_the_numbers_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n" + LINES.replace(b"\n", b"\n\n"))
    rows = read_rows(path)
    assert (rows.values, rows.numbers, rows.where(1)) == (ROWS, [2, 4], f"{path} line 4")


def test_standard_input(monkeypatch: pytest.MonkeyPatch) -> None:
    for content in (LINES, gzip.compress(LINES, mtime=0), parquet()):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(content))))
        assert read_rows("-").values == ROWS


@pytest.mark.skipif(importlib.util.find_spec("datasets") is not None, reason="datasets is installed")
def test_a_hub_dataset_needs_its_extra() -> None:
    with pytest.raises(MissingExtraError, match=r"no file owner/name:test; .*pip install 'embrm\[hub\]'"):
        read_rows("owner/name:test")


@pytest.mark.parametrize("source", ["absent.jsonl", "absent/rows.jsonl", "/absent/rows", "a/b/c"])
def test_what_is_no_hub_dataset_is_a_missing_file(source: str) -> None:
    with pytest.raises(DataError, match=f"there is no file {source}; expected a JSON Lines"):
        read_rows(source)


@pytest.mark.parametrize("name", ["rows.jsonl", "rows.jsonl.gz"])
def test_rows_come_back(name: str, tmp_path: Path) -> None:
    write_rows(tmp_path / name, ROWS)
    assert read_rows(tmp_path / name).values == ROWS
    assert ((tmp_path / name).read_bytes()[:2] == b"\x1f\x8b") == name.endswith(".gz")


def test_rows_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    write_rows("-", ROWS)
    assert capsys.readouterr().out.encode() == LINES


def test_nan_is_never_written_as_json(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_rows(tmp_path / "x", [{"a": float("nan")}])
    assert list(tmp_path.iterdir()) == []


def test_a_place_is_checked_without_a_trace(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "file")
    check_writable(tmp_path / "new", folder=True)
    check_output("-")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(OptionError, match=r"standard output cannot hold"):
        check_writable("-", folder=True)
    with pytest.raises(OptionError, match=r"it is a folder; give the name of a file"):
        check_output(tmp_path)


def test_hashes(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256(tmp_path / "x") == hashlib.sha256(b"abc").hexdigest()
    assert fingerprint({"a": 1, "b": [2]}) == fingerprint({"b": [2], "a": 1}) != fingerprint({"a": 1, "b": [3]})


def test_what_killed_processes_left_goes_with_the_next_save_and_nothing_else_does(tmp_path: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    dead, living = int(ended.stdout), os.getpid()
    ages = {f".model.abcdefgh-{dead}": 120, f".model.abcdefgi-{dead}": 0, f".model.abcdefgj-{living}": 120}
    ages |= {f".model.abcdefgl-{dead}": -100_000}  # the clock went backwards
    ages |= {f".model.abcdefgk-{living}": 100_000, ".model.backup-1": 100_000, ".other.abcdefgh-1": 100_000}
    for name, age in ages.items():
        (tmp_path / name).mkdir()
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    with write_folder(tmp_path / "model") as part:
        (part / "config.json").write_text("{}")
    kept = {f".model.abcdefg{last}" for last in (f"i-{dead}", f"j-{living}", f"l-{dead}")}
    kept |= {".model.backup-1", ".other.abcdefgh-1", "model"}
    assert {path.name for path in tmp_path.iterdir()} == kept


KILLS = """
import itertools, os, random, signal, sys, time
from pathlib import Path
from embrm.core.files import write_folder

dice, folder, seen = random.Random(0), Path("model"), 0
for kill in range(200):
    child = os.fork()
    if child == 0:
        for number in itertools.count():
            with write_folder(folder) as part:
                for name in ("config.json", "model.safetensors"):
                    (part / name).write_text(f"{kill} {number} " * 20_000)
    time.sleep(dice.uniform(0.001, 0.02))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    if folder.exists():
        config, weights = sorted(folder.iterdir())
        assert config.read_text() == weights.read_text() != ""
        seen += 1
print(seen)
"""


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="forks")
def test_two_hundred_kills_leave_a_whole_model_and_no_hidden_folder_beyond_the_next_save(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    command = [sys.executable, "-c", KILLS]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    hidden = [path for path in tmp_path.iterdir() if path.name != "model"]
    for path in hidden:
        os.utime(path, (time.time() - 120,) * 2)
    print(f"{done.stdout.strip()} of 200 kills left a model, {len(hidden)} hidden folders")
    assert hidden
    assert int(done.stdout) > 100
    for _ in range(2):  # the first makes `model` where a kill between two renames left it in a hidden folder alone
        with write_folder(tmp_path / "model") as part:
            (part / "config.json").write_text("{}")
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
