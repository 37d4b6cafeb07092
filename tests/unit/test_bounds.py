"""What is read is bounded: small files that become large ones, and files that are none."""

from __future__ import annotations

import gzip
import io
import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embrm.core.arrays import read_npy
from embrm.core.bounds import EVERY, LINE, is_deeper
from embrm.core.documents import json_line, parse_json, read_bytes, read_json
from embrm.core.files import Rows, read_rows, write_rows
from embrm.core.trajectory import Step, Trajectory
from embrm.data.texts import Texts, read_texts
from embrm.errors import DataError, OptionError
from embrm.evaluation.scorer import Scorer
from embrm.monitoring.spaces import run_sides


@pytest.mark.parametrize(
    ("bound", "content", "message"),
    [
        ("BYTES", b'{"a": 1}\n' * 20, r"more than 100 bytes, .* raise the bound: EMBRM_MAX_BYTES=200"),
        ("LINE", b'{"a": 1}\n{"a": "' + b"x" * 100 + b'"}\n', r"line 2 has more than 100 bytes in one line"),
        ("ROWS", b'{"a": 1}\n' * 101, r"more than 100 rows"),
        ("ROWS", b"[" + b'{"a": 1},' * 100 + b'{"a": 1}]', r"more than 100 rows"),
        ("ROWS", b"a,b\n" + b"1,2\n" * 101, r"more than 100 rows"),
        ("COLUMNS", json.dumps(dict.fromkeys(map(str, range(101)), 0)).encode(), r"line 1 has more than 100 columns"),
        ("COLUMNS", b",".join(b"c%d" % i for i in range(101)) + b"\n", r"line 1 has more than 100 columns"),
        ("DEPTH", b'{"a": ' + b"[" * 101 + b"]" * 101 + b"}", r"line 1 has more than 100 lists or objects inside"),
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_bounds_are_stated_and_can_be_raised(
    bound: str, content: bytes, message: str, packed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "rows"
    file.write_bytes(gzip.compress(content) if packed else content)
    monkeypatch.setenv(f"EMBRM_MAX_{bound}", "100")
    with pytest.raises(DataError, match=message):
        read_rows(file)
    monkeypatch.setenv(f"EMBRM_MAX_{bound}", "1000")
    if len(content.splitlines()) > 1 or not content.startswith(b"c0,"):
        assert len(read_rows(file)) >= 1


def test_parquet_is_asked_for_its_rows_before_they_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pq.write_table(pa.table({"a": pa.array([1] * 101)}), tmp_path / "a.parquet")
    pq.write_table(pa.table({f"c{i}": [1] for i in range(101)}), tmp_path / "b.parquet")
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as out, pa.ipc.new_file(out, pa.schema([("a", pa.null())])) as file:
        file.write(pa.record_batch({"a": pa.nulls(101)}))
    monkeypatch.setenv("EMBRM_MAX_ROWS", "100")
    monkeypatch.setenv("EMBRM_MAX_COLUMNS", "100")
    for name, what in (("a.parquet", "rows"), ("a.arrow", "rows"), ("b.parquet", "columns")):
        with pytest.raises(DataError, match=f"more than 100 {what}"):
            read_rows(tmp_path / name)


def test_lines_that_are_no_rows_are_counted_up_to_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows").write_bytes(b"{x\n" * 101)
    monkeypatch.setenv("EMBRM_MAX_REFUSED", "100")
    with pytest.raises(DataError, match="more than 100 lines that are no rows"):
        read_rows(tmp_path / "rows", stop=False)


@pytest.mark.parametrize("typed", ["x", "0", "-1", "1e3", "9" * 40, "\u0661"])
def test_a_bound_is_a_whole_number(typed: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for bound in EVERY:
        monkeypatch.setenv(bound.variable, typed)
        with pytest.raises(OptionError, match=f"{bound.variable} must be a whole number above 0"):
            bound.check(1, "it")


def test_depth_is_counted_without_recursion() -> None:
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    assert is_deeper(deep, 100)
    assert not is_deeper([[1], {"a": [2]}], 3)
    assert is_deeper([[1], {"a": [2]}], 2)
    assert not is_deeper(3, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[" * 100_000, "lists or objects inside each other"),
        (b"[" * 150 + b"]" * 150, "more than 100 lists or objects inside each other"),
        (b"1" * 5000, "here: Exceeds the limit"),
        (b"\xff", "here is not UTF-8 at byte 0"),
        (b'{"a": 1, "a": 2}', "has the key 'a' twice"),
        (b"{", "here is not valid JSON: .* at line 1, column"),
    ],
)
def test_documents_that_are_none_are_told(text: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        parse_json(text, "here")


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read: Is a directory"):
        read_bytes(tmp_path)
    with pytest.raises(DataError, match="cannot be read: No such file"):
        read_json(tmp_path / "absent")
    with pytest.raises(DataError, match="cannot be read: embedded null byte"):
        read_bytes("a\0b")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="is a pipe or a device"):
        read_rows(tmp_path / "pipe")
    with pytest.raises(DataError, match="is a pipe or a device"):
        read_npy(tmp_path / "pipe", of="vectors")


def npy(shape: str, dtype: str = "'<f4'", data: bytes = b"\0" * 16) -> bytes:
    header = f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}}}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + data


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (npy("(1000000000000, 4)"), "15999999999984 bytes too short"),
        (npy("(-1, 4)"), "bytes too short"),
        (npy("(2, 2)", "[('a', '<f4')]"), "and no plain numbers"),
        (npy("(2, 2)", "'<U4'"), "and no plain numbers"),
        (npy("(2, 2)", "'<c8'"), "and no plain numbers"),
        (npy("(2, 2)", "'|O'"), "and no plain numbers"),
        (npy("((2, 2)"), "cannot be read as a .npy file of vectors"),
        (npy("(2, 2)")[:40], "cannot be read as a .npy file of vectors"),
        (b"", "cannot be read as a .npy file of vectors"),
        (b"PK\x03\x04", "is an archive"),
        (npy("(2, 2)").replace(b"\x01\x00", b"\x03\x00", 1), "which plain numbers never need"),
    ],
)
def test_damaged_vectors_are_told(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "v.npy").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_npy(tmp_path / "v.npy", of="vectors")


def test_whole_vectors_are_read(tmp_path: Path) -> None:
    for x in (np.ones((2, 2), np.float16), np.zeros((0, 3)), np.arange(4), np.asfortranarray(np.eye(3)), np.float64(2)):
        np.save(tmp_path / "v.npy", x)
        np.testing.assert_array_equal(read_npy(tmp_path / "v.npy", of="vectors"), x)


def test_nothing_is_written_that_could_not_be_read_again(tmp_path: Path) -> None:
    row = {"id": "\ud800", "text": "ü\u2028"}
    write_rows(tmp_path / "rows", [row])
    assert read_rows(tmp_path / "rows").values == [row]
    for value in (float("nan"), object(), b"x"):
        with pytest.raises(DataError, match="could not be read again"):
            json_line({"a": value})


def test_a_run_with_any_text_and_number_is_read_again(tmp_path: Path) -> None:
    run = Trajectory(tmp_path / "run")
    run.add(Step(0, float("inf"), 1.0, float("nan"), 2.0, {"a": 1.0}, [float("-inf")], [{"text": "\ud800"}]))
    back = Trajectory.load(tmp_path / "run").steps[0]
    assert (back.kl, back.logits, back.sample) == (float("inf"), [float("-inf")], [{"text": "\ud800"}])
    assert np.isnan(back.proxy)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[]", r"line 1: : Input should be"),
        ("{}", r"line 1: step: Field required"),
        ('{"step": "x"}', r"line 1: step: Input should be a valid integer"),
        ('{"step": 0, "more": 1}', r"line 1: more: Unexpected keyword argument|line 1: kl: Field required"),
        ("\x00", r"line 1 is not valid JSON"),
    ],
)
def test_damaged_steps_are_told(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "trajectory.jsonl").write_text(f"{line}\n")
    with pytest.raises(DataError, match=message):
        Trajectory.load(tmp_path)


def long_line(path: Path) -> None:
    with gzip.open(path, "wb", compresslevel=9) as out:
        out.write(b'{"prompt": "')
        for _ in range(512):  # 4096 MB behave alike, and take a minute to pack
            out.write(b"a" * (1 << 20))


def many_rows(path: Path) -> None:
    path.write_bytes(b"{}\n" * 1_930_000)


def many_rows_of_parquet(path: Path) -> None:
    pq.write_table(pa.table({"a": pa.array(np.zeros(50_000_000, np.int8))}), path)


def blank_lines(path: Path) -> None:
    path.write_bytes(b"\n" * 3_000_000)


def bad_lines(path: Path) -> None:
    path.write_bytes(b"{x\n" * 1_000_000)


def packed_rows(path: Path) -> None:
    path.write_bytes(gzip.compress(b'{"a":""}\n' * 30_000_000, 9))


def many_pretty_objects(path: Path) -> None:
    path.write_bytes(b'{\n"prompt": "p"\n}\n' * 200_000)


READ = """
import resource, sys, time
from embrm.core.files import read_rows
from embrm.errors import DataError
import pyarrow.parquet  # what is imported is not counted
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.process_time()
try:
    said = f"{len(read_rows(sys.argv[1], stop=False))} rows"
except DataError as error:
    said = str(error)
grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
print(grown, time.process_time() - start, said)
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "said", "most"),
    [
        (long_line, "more than 67108864 bytes in one line", 200 << 20),
        (many_rows, "1930000 rows", 6 * 60 << 20),
        (many_rows_of_parquet, "more than 2000000 rows", 50 << 20),
        (blank_lines, "is empty", 50 << 20),
        (bad_lines, "more than 100000 lines that are no rows", 200 << 20),
        (packed_rows, "bytes for each byte that is packed", 300 << 20),
        (many_pretty_objects, "200000 rows", 4 * 60 << 20),
    ],
)
def test_memory_stays_below_60_times_what_is_unpacked(
    make: Callable[[Path], None], said: str, most: int, tmp_path: Path
) -> None:
    """The growth of a process that reads the file, beside its time: nothing hangs."""
    make(tmp_path / "file")
    done = subprocess.run(
        [sys.executable, "-c", READ, str(tmp_path / "file")],
        capture_output=True,
        text=True,
        timeout=120,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (6 << 30, 6 << 30)),
    )
    assert done.returncode == 0, done.stderr[-2000:]
    grown, seconds, told = done.stdout.split(" ", 2)
    print(make.__name__, (tmp_path / "file").stat().st_size, grown, seconds)
    assert said in told
    assert int(grown) < most
    assert float(seconds) < 20


def test_the_bound_of_a_line_holds_while_it_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.gz").write_bytes(gzip.compress(b'{"a": "' + b"x" * 5_000_000))
    monkeypatch.setenv(LINE.variable, "1000000")
    with pytest.raises(DataError, match="unpacked, has more than 1000000 bytes in one line"):
        read_rows(tmp_path / "a.gz")


def test_a_small_file_may_not_become_a_very_large_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embrm.core.bounds.ALWAYS_UNPACKED", 1000)
    (tmp_path / "a.gz").write_bytes(gzip.compress(b'{"a": 1}\n' * 100_000))
    with pytest.raises(DataError, match="more than 100 bytes for each byte that is packed"):
        read_rows(tmp_path / "a.gz")
    monkeypatch.setenv("EMBRM_MAX_RATIO", "2000")
    assert len(read_rows(tmp_path / "a.gz")) == 100_000


def test_wrong_offsets_of_arrow_are_told_and_crash_nothing(tmp_path: Path) -> None:
    """Found by `just fuzz`: Arrow trusts them, and the process ended by a segmentation fault."""
    table, out = pa.table({"a": ["x", "yy"]}), io.BytesIO()
    with pa.ipc.new_stream(out, table.schema) as stream:
        stream.write_table(table)
    offsets = np.array([0, 1, 3], dtype="<i4").tobytes()
    assert out.getvalue().count(offsets) == 1
    (tmp_path / "rows").write_bytes(out.getvalue().replace(offsets, np.array([0, 1, 1 << 30], dtype="<i4").tobytes()))
    with pytest.raises(DataError, match=r"is a damaged Arrow file: .*[Oo]ffset"):
        read_rows(tmp_path / "rows")


def test_ratings_that_are_no_list_are_told(tmp_path: Path) -> None:
    """Found by `just fuzz`: TypeError."""
    row = {"prompt": "p", "responses": ["a", "b"], "gold": [1, 2]}
    for ratings in (3, "x", [1], {"a": 1}):
        write_rows(tmp_path / "rows", [{**row, "ratings": ratings}])
        with pytest.raises(DataError, match="responses need a list of as many ratings"):
            read_texts(tmp_path / "rows", kind="pools")
    write_rows(tmp_path / "rows", [{**row, "ratings": None}])
    assert len(read_texts(tmp_path / "rows", kind="pools")) == 2


def test_what_a_step_keeps_is_text(tmp_path: Path) -> None:
    """Found by `just fuzz`: KeyError."""
    for sample, message in (({"prompt": "p"}, "must have 'prompt' and 'text'"), (None, "keeps no texts")):
        run = Trajectory(tmp_path / message[:9])
        run.add(Step(0, 0.0, 1.0, 2.0, 3.0, {}, [], [sample] if sample else []))
        texts = Texts("texts", Rows("known", [], []), ["p"], ["r"], np.array([0, 1]))
        with pytest.raises(DataError, match=message):
            run_sides(Scorer("none", None), texts, run, space="length")
