"""The same rows from every container, and what damaged or foreign ones are told."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embrm.core.files import read_rows
from embrm.data.texts import read_texts
from embrm.errors import DataError

Row = dict[str, Any]


def lines(rows: list[Row]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def table(rows: list[Row], delimiter: str = ",") -> bytes:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]), delimiter=delimiter)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def arrow(rows: list[Row], *, stream: bool) -> bytes:
    out = io.BytesIO()
    data = pa.Table.from_pylist(rows)
    with (pa.ipc.new_stream if stream else pa.ipc.new_file)(out, data.schema) as writer:
        writer.write_table(data)
    return out.getvalue()


def parquet(rows: list[Row]) -> bytes:
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), out)
    return out.getvalue()


def zstd(data: bytes) -> bytes:
    out = pa.BufferOutputStream()
    with pa.CompressedOutputStream(out, "zstd") as packed:
        packed.write(data)
    return bytes(out.getvalue().to_pybytes())


CONTAINERS: dict[str, Any] = {
    "lines": lines,
    "lines with old ends": lambda rows: lines(rows).replace(b"\n", b"\r"),
    "array": lambda rows: json.dumps(rows).encode(),
    "pretty array": lambda rows: json.dumps(rows, indent=2).encode(),
    "pretty objects": lambda rows: "\n".join(json.dumps(row, indent=1) for row in rows).encode(),
    "csv": table,
    "tsv": lambda rows: table(rows, "\t"),
    "gzip": lambda rows: gzip.compress(lines(rows)),
    "bz2": lambda rows: bz2.compress(table(rows)),
    "xz": lambda rows: lzma.compress(lines(rows)),
    "zstd": lambda rows: zstd(lines(rows)),
    "utf-16": lambda rows: lines(rows).decode().encode("utf-16"),
    "utf-16 without mark": lambda rows: lines(rows).decode().encode("utf-16-le"),
    "utf-8 with mark": lambda rows: b"\xef\xbb\xbf" + table(rows),
    "parquet": parquet,
    "arrow file": lambda rows: arrow(rows, stream=False),
    "arrow stream": lambda rows: arrow(rows, stream=True),
}
# No null character, which CSV has no form of, and a letter in front, so that no text is messages written as JSON.
words = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00\r\n"), max_size=12).map("x{}".format)
pairs = st.fixed_dictionaries({"prompt": words, "chosen": words.map("a{}".format), "rejected": words.map("b{}".format)})


@settings(max_examples=25, deadline=None)
@given(rows=st.lists(pairs, min_size=1, max_size=4))
def test_the_same_pairs_come_from_every_container(rows: list[Row], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("containers")
    expected = None
    for name, write in CONTAINERS.items():
        (folder / "rows").write_bytes(write(rows))
        texts = read_texts(folder / "rows")
        expected = expected or (texts.prompts, texts.responses)
        assert (texts.prompts, texts.responses) == expected, name
    assert expected is not None
    assert expected[0][::2] == [row["prompt"].strip() for row in rows]


def test_types_of_parquet_are_what_they_mean(tmp_path: Path) -> None:
    turns = [[("role", "user"), ("content", "p")], [("role", "assistant"), ("content", "a")]]
    other = [turns[0], [("role", "assistant"), ("content", "b")]]
    maps = pa.list_(pa.map_(pa.string(), pa.string()))
    columns = {
        "chosen": pa.array([turns], maps),
        "rejected": pa.array([other], maps),
        "margin": pa.array([Decimal("0.5")]),
        "tie": pa.array([False]),
        "weight": pa.array([np.float32(2)]),
        "id": pa.array([None], pa.string()),
    }
    pq.write_table(pa.table(columns), tmp_path / "x.parquet")
    texts = read_texts(tmp_path / "x.parquet")
    assert (texts.prompts, texts.responses, texts.names[0]) == (["p", "p"], ["a", "b"], ("1", 0))
    assert {k: texts.rows.values[0][k] for k in ("margin", "tie", "weight")} == {"margin": 0.5, "tie": 0, "weight": 2}


def test_shards_of_a_folder_and_a_pattern(tmp_path: Path) -> None:
    rows = [{"prompt": "p", "response": text} for text in "abc"]
    (tmp_path / "README.md").write_text("not rows")
    for i, row in enumerate(rows):
        (tmp_path / f"part-{i}.jsonl.gz").write_bytes(gzip.compress(lines([row])))
    for source in (tmp_path, tmp_path / "part-*"):
        found = read_rows(source)
        assert found.values == rows
        assert [found.label(i) for i in range(3)] == ["1", "2", "3"]
        assert found.where(2) == f"{tmp_path}/part-2.jsonl.gz line 1"
    (tmp_path / "other.jsonl.gz").write_bytes(lines([{"x": 1}]))
    with pytest.raises(DataError, match=r"is a folder; expected files of the same columns .* has x and .* response"):
        read_rows(tmp_path)
    (tmp_path / "more.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"several kinds of files \(\.csv, \.jsonl\.gz\)"):
        read_rows(tmp_path)
    with pytest.raises(DataError, match="no file matches"):
        read_rows(tmp_path / "nothing*")
    (tmp_path / "hub" / "data").mkdir(parents=True)
    for split in ("train", "test"):
        (tmp_path / "hub" / "data" / f"{split}-00000.jsonl").write_bytes(lines(rows))
    with pytest.raises(DataError, match=r"several splits \(test, train\)"):
        read_rows(tmp_path / "hub")


CARD = """---
configs:
- config_name: helpful
  data_files:
  - {split: train, path: helpful/train-*}
  - {split: test, path: helpful/test-*}
- config_name: harmless
  data_files:
  - {split: train, path: harmless/train-*}
---
"""


def test_configurations_splits_and_slices_of_a_copy_of_a_hub_dataset(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    (tmp_path / "repo").mkdir()
    (tmp_path / "repo" / "README.md").write_text(CARD)
    for place, n in (("helpful/train", 6), ("helpful/test", 4), ("harmless/train", 3)):
        (tmp_path / "repo" / place).parent.mkdir(exist_ok=True)
        rows = [{"prompt": f"{place} {i}", "response": "a"} for i in range(n)]
        (tmp_path / "repo" / f"{place}-00000-of-00001.parquet").write_bytes(parquet(rows))
    expected = {
        "helpful/train": ("helpful/train", range(6)),
        "helpful/test": ("helpful/test", range(4)),
        "harmless/train": ("harmless/train", range(3)),
        "helpful/train[1:3]": ("helpful/train", range(1, 3)),
        "helpful/test[50%:]": ("helpful/test", range(2, 4)),
        "helpful/train[-2:]": ("helpful/train", range(4, 6)),
    }
    for asked, (place, numbers) in expected.items():
        rows = read_rows(f"{tmp_path}/repo:{asked}").values
        assert [row["prompt"] for row in rows] == [f"{place} {i}" for i in numbers], asked
    for asked, message in {
        "train": r"(?s)Config name is missing.*helpful.*harmless",
        "other/train": "'other' not found. Available: .*helpful",
        "helpful/dev": "Unknown split",
    }.items():
        with pytest.raises(DataError, match=message):
            read_rows(f"{tmp_path}/repo:{asked}")
    with pytest.raises(DataError, match=r"copy of a hub dataset .*repo:configuration/split"):
        read_rows(tmp_path / "repo")


def test_what_save_to_disk_wrote_and_addresses(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    rows = [{"prompt": "p", "response": "a"}]
    data = datasets.Dataset.from_list(rows)
    data.save_to_disk(tmp_path / "one")
    datasets.DatasetDict({"train": data, "test": data}).save_to_disk(tmp_path / "two")
    datasets.DatasetDict({"a": data, "b": data}).save_to_disk(tmp_path / "three")
    assert read_rows(tmp_path / "one").values == read_rows(tmp_path / "two").values == rows
    assert read_rows(tmp_path / "two" / "test").values == rows
    with pytest.raises(DataError, match=r"has the splits a, b; give one of them: .*three/a"):
        read_rows(tmp_path / "three")
    (tmp_path / "x.jsonl").write_bytes(lines(rows))
    assert read_rows(f"file://{tmp_path}/x.jsonl").values == rows
    with pytest.raises(DataError, match="nosuch://x cannot be read"):
        read_rows("nosuch://x")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"a": 1, "a": 2}\n', "line 1 has the key 'a' twice; keep one"),
        (b'[{"a": 1}, 3]', "row 2 must be a JSON object, got int"),
        (b'[{"a": 1}, ', "begins as a JSON array and is not valid JSON"),
        (b"prompt,chosen\n1\n", "line 2 has 1 cells, and the first line names 2 columns"),
        (b"prompt,prompt\n1,2\n", "has the column 'prompt' twice"),
        (b'prompt,chosen\n"1,2\n', "cannot be read as CSV"),
        (b"PK\x03\x04", "a zip archive"),
        (b"\x93NUMPY", "give vectors with --features"),
        (b"ARROW1 nothing", "damaged Arrow file"),
        (b"\xfd7zXZ\x00 nothing", "the xz file is damaged or cut off"),
        (b"\x28\xb5\x2f\xfd nothing", "the zstd file is damaged or cut off"),
        (b"\xff\xfe\x00\xd8{\x00", "looks like utf-16, and is not"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\n", "a pointer of Git LFS"),
        (b"<!DOCTYPE html><html>", "a web page"),
        (b"ORC\x00", "an ORC file"),
        (b"Obj\x01\x04", "an Avro file"),
        (b"\x89HDF\r\n", "an HDF5 file"),
        (b"\x04\x22\x4d\x18", "packed by lz4"),
        (b"\xff\x06\x00\x00sNaPpY", "packed by Snappy"),
    ],
)
def test_what_cannot_be_read_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_rows(tmp_path / "x")
