"""Files in blocks: the same texts and pairs as at once, in little memory, or a refusal that says why not."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embrm import read_pairs
from embrm.core.blocks import read_blocks
from embrm.core.files import read_rows
from embrm.data import RowRules
from embrm.data.faults import ReadingWarning
from embrm.data.layouts import get, names
from embrm.data.stream import stream_pairs, stream_texts
from embrm.data.texts import read_texts
from embrm.embedders import get as embedder
from embrm.errors import DataError, OptionError

Row = dict[str, Any]
HASHING = embedder("hashing")(dimension=16)


def lines(rows: list[Row]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def arrow(path: Path, rows: list[Row], *, stream: bool) -> None:
    table = pa.Table.from_pylist(rows)
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(path, table.schema) as out:
        out.write_table(table, max_chunksize=5)


def zstd(data: bytes) -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as packed:
        packed.write(data)
    return bytes(out.getvalue().to_pybytes())


def prefs(n: int) -> list[Row]:
    """Return pairs with prompts that come back, texts that come back, and numbers that only some rows have."""
    out: list[Row] = []
    for i in range(n):
        row: Row = {"prompt": f"p{i % 5}" if i % 7 else None, "chosen": f"good {i % 3}", "rejected": f"bad {i}"}
        out.append(row | ({"margin": 0.5, "tie": i % 2 == 0} if i > n // 2 else {}))
    return out


@pytest.mark.parametrize(
    "name",
    ["x.jsonl", "x.jsonl.gz", "x.jsonl.bz2", "x.jsonl.xz", "x.jsonl.zst", "x.parquet", "x.arrow", "stream.arrow"],
)
@pytest.mark.parametrize("size", [1, 4, 100])
def test_pairs_are_those_of_the_whole_file(name: str, size: int, tmp_path: Path) -> None:
    rows, path = prefs(23), tmp_path / name
    packs: Any = {"gz": gzip.compress, "bz2": bz2.compress, "xz": lzma.compress, "zst": zstd}
    if name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=6)
    elif name.endswith("arrow"):
        arrow(path, rows, stream=name.startswith("stream"))
    else:
        path.write_bytes(packs.get(name.split(".")[-1], bytes)(lines(rows)))
    whole = read_pairs(path, embedder=HASHING)
    found, account = stream_pairs(path, embedder=HASHING, size=size)
    for column in ("chosen", "rejected", "margin", "tie"):
        np.testing.assert_array_equal(getattr(found, column), getattr(whole, column))
    assert found.weight is None
    np.testing.assert_array_equal(found.features.prompt, whole.features.prompt)
    np.testing.assert_array_equal(found.features.length, whole.features.length)
    np.testing.assert_array_equal(found.features.matrix("joint"), whole.features.matrix("joint"))
    assert account == {"layout": "pairs", "rows": 23, "left_out": 0, "read": 23}


def test_clusters_of_prompts_are_those_of_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "x.jsonl"
    rows = [{**row, "prompt": f"p{i % 5}", "cluster": f"c{i % 5 % 2}"} for i, row in enumerate(prefs(12))]
    path.write_bytes(lines(rows))
    whole, (found, _) = read_pairs(path, embedder=HASHING), stream_pairs(path, embedder=HASHING, size=3)
    assert whole.features.cluster is not None
    np.testing.assert_array_equal(found.features.cluster, whole.features.cluster)
    path.write_bytes(lines([*rows, {**rows[0], "rejected": "x", "cluster": "other"}]))
    with pytest.raises(DataError, match="line 13: cluster is 'other', but its prompt was in 'c0' before"):
        stream_pairs(path, embedder=HASHING, size=3)
    path.write_bytes(lines([*rows, {**rows[0], "prompt": "new", "cluster": None}]))
    with pytest.raises(DataError, match="1 of 6 prompts have no cluster; give it to all, or"):
        stream_pairs(path, embedder=HASHING, size=3)


def test_places_and_ids_are_those_of_the_whole(tmp_path: Path) -> None:
    for i in range(3):
        (tmp_path / f"part-{i}.jsonl").write_bytes(lines(prefs(5)) + (b"{\n" if i == 1 else b""))
    for source in (str(tmp_path), f"{tmp_path}/part-*", str(tmp_path / "part-0.jsonl")):
        whole, blocks = read_rows(source, stop=False), list(read_blocks(source, size=2))
        assert [value for rows in blocks for value in rows.values] == whole.values
        for name in ("where", "label"):
            places = [getattr(rows, name)(i) for rows in blocks for i in range(len(rows))]
            assert places == [getattr(whole, name)(i) for i in range(len(whole))]
        assert [line for rows in blocks for line in rows.refused] == whole.refused


@pytest.mark.parametrize("name", names())
def test_every_layout_gives_the_same_texts_in_blocks_or_says_why_it_cannot(name: str, tmp_path: Path) -> None:
    rows = [dict(row) for row in get(name)().example]
    (tmp_path / "x.jsonl").write_bytes(lines(rows))
    for kind in get(name)().kinds:
        whole = read_texts(tmp_path / "x.jsonl", kind=kind)
        stream = stream_texts(tmp_path / "x.jsonl", kind=kind, size=len(rows) if name == "pairs" else 1)
        if kind in get(name)().gathers:
            with pytest.raises(DataError, match="are brought together out of rows that may be far apart"):
                next(stream)
            continue
        parts = list(stream)
        assert [p for texts in parts for p in texts.prompts] == whole.prompts
        assert [r for texts in parts for r in texts.responses] == whole.responses


def test_memory_is_bounded_by_a_block_and_not_by_the_file(tmp_path: Path) -> None:
    rows = [{"prompt": f"p{i}", "chosen": f"{i} good " * 400, "rejected": f"{i} bad " * 400} for i in range(1500)]
    path = tmp_path / "large.jsonl"
    path.write_bytes(lines(rows))
    del rows
    peaks = {}
    ways: dict[str, Callable[[], int]] = {
        "blocks": lambda: sum(len(texts) for texts in stream_texts(path, size=50)),
        "whole": lambda: len(read_texts(path)),
    }
    for name, read in ways.items():
        tracemalloc.start()
        assert read() == 3000
        peaks[name] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert path.stat().st_size > 10e6
    assert peaks["blocks"] < 2.5e6 < 10e6 < peaks["whole"]


def test_what_was_lost_is_said_once_of_the_whole_file(tmp_path: Path) -> None:
    rows = prefs(12)
    for i in (2, 9):
        rows[i]["rejected"] = rows[i]["chosen"]
    (tmp_path / "x.jsonl").write_bytes(lines(rows))
    with pytest.raises(DataError, match="line 3: chosen equals rejected"):
        stream_pairs(tmp_path / "x.jsonl", embedder=HASHING, size=4)
    with pytest.warns(ReadingWarning) as told:
        pairs, account = stream_pairs(tmp_path / "x.jsonl", embedder=HASHING, rules=RowRules(on_bad_row="skip"), size=4)
    assert [str(w.message).partition(": ")[2] for w in told] == ["left_out: 2, equal_texts: 2, of 12 rows"]
    assert (len(pairs), account["left_out"], account["rows"]) == (10, 2, 12)


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        (b'[{"prompt": "p"}]', DataError, "its first line is no JSON object; only JSON Lines"),
        (b"prompt,chosen,rejected\np,a,b\n", DataError, "cannot be read in blocks"),
        (b"", DataError, "is empty; expected at least one row"),
        (
            gzip.compress(b'{"prompt": "p", "chosen": "a", "rejected": "b"}\n', mtime=0)[:-9],
            DataError,
            "damaged or cut off",
        ),
        (b"PAR1 and no more", DataError, "is a damaged file"),
        (
            lines([{"prompt": "p", "chosen": "a", "rejected": "b"}, {"question": "p", "chosen": "a", "rejected": "b"}]),
            DataError,
            "line 2: from here on rows read as asked_pairs with the prompt in question, and before as pairs",
        ),
        (
            lines([{"id": "a", "prompt": "p", "responses": ["x"]}, {"id": "a", "prompt": "q", "responses": ["x"]}]),
            DataError,
            "line 2: id 'a' was used before",
        ),
    ],
)
def test_what_cannot_be_read_in_blocks_is_refused(
    content: bytes, error: type[Exception], message: str, tmp_path: Path
) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(error, match=message):
        list(stream_texts(tmp_path / "x", size=1))


def test_options_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.jsonl").write_bytes(lines(prefs(2)))
    with pytest.raises(OptionError, match="at least 1 row, got 0"):
        next(read_blocks(tmp_path / "x.jsonl", size=0))
    with pytest.raises(DataError, match="there is no file"):
        next(read_blocks(tmp_path / "nothing.jsonl"))
    with pytest.raises(OptionError, match="a report of bad rows is of a whole file"):
        next(stream_texts(tmp_path / "x.jsonl", rules=RowRules(on_bad_row=f"report={tmp_path}/r.jsonl")))


@pytest.mark.parametrize(
    ("bound", "name", "message"),
    [
        ("LINE", "rows.jsonl.gz", "more than 50 bytes in one line"),
        ("COLUMNS", "rows.parquet", "more than 50 columns in one row"),
        ("DEPTH", "rows.arrow", "more than 50 lists or objects inside each other"),
    ],
)
def test_blocks_are_read_within_the_bounds_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bound: str, name: str, message: str
) -> None:
    value: Any = "x"
    for _ in range(60 if bound == "DEPTH" else 1):
        value = [value]
    row: Row = {f"column {i}": i for i in range(40 if bound == "DEPTH" else 60)} | {"value": value}
    path = tmp_path / name
    if name.endswith("gz"):
        path.write_bytes(gzip.compress(lines([row])))
    elif name.endswith("parquet"):
        pq.write_table(pa.Table.from_pylist([row]), path)
    else:
        arrow(path, [row], stream=False)
    monkeypatch.setenv(f"EMBRM_MAX_{bound}", "50")
    with pytest.raises(DataError, match=message):
        list(read_blocks(path))


def test_wrong_offsets_in_blocks_are_told_and_crash_nothing(tmp_path: Path) -> None:
    path = tmp_path / "rows"
    arrow(path, [{"a": "x"}, {"a": "yz"}], stream=False)
    offsets = np.array([0, 1, 3], dtype="<i4").tobytes()
    data = path.read_bytes()
    assert data.count(offsets) == 1
    path.write_bytes(data.replace(offsets, np.array([0, 1, 1 << 30], dtype="<i4").tobytes()))
    with pytest.raises(DataError, match="is a damaged file"):
        list(read_blocks(path))
