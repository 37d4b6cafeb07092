"""Hypothesis strategies of hostile files: over the structure of rows, and over bytes."""

from __future__ import annotations

import gzip
import io
import json
import random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

from tests.fuzz.mutations import EDGES, damaged_bytes, damaged_value

MESSAGES = [{"role": "user", "content": "p"}, {"role": "assistant", "content": "a"}]
PAIRS: list[dict[str, Any]] = [
    {"prompt": f"p{i}", "chosen": f"good {i}", "rejected": f"bad {i}", "weight": 1.5, "margin": 0.5, "tie": False}
    for i in range(6)
] + [{"prompt": MESSAGES[:1], "chosen": MESSAGES[1:], "rejected": [{"role": "assistant", "content": "b"}]}]
POOLS: list[dict[str, Any]] = [
    {"id": f"q{i}", "prompt": f"p{i}", "responses": ["a", f"b{i}", "c"], "gold": [0, 1, 0.5], "policy": ["x", "y", "z"]}
    for i in range(6)
]
TEXTS = [{"prompt": f"p{i}", "response": f"r{i}"} for i in range(6)]
BENCH = [
    {"prompt": f"p{i}", "chosen": f"good {i}", "rejected": f"bad {i}", "subset": "donotanswer", "id": i}
    for i in range(4)
]
RATED = [{"prompt": f"p{i}", "responses": ["a", "b", "c"], "ratings": [1, 5, None], "class": 3} for i in range(4)]
SCORES = [
    {"id": f"q{i}", "index": j, "score": 0.1 * j, "sd": 0.1, "draws": [0.1 * j, 0.2], "kind": "members"}
    for i in range(6)
    for j in range(3)
]
TABLES: dict[str, list[dict[str, Any]]] = {
    "pairs": PAIRS, "pools": POOLS, "texts": TEXTS, "bench": BENCH, "rated": RATED, "scores": SCORES,
}  # fmt: skip
MORE = TABLES | {"votes": [{**row, "annotator": "ab"[i % 2]} for i, row in enumerate(PAIRS)]}  # not the campaign's
scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(EDGES)
)  # fmt: skip
anything = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
)


@st.composite
def tables(draw: st.DrawFn, kinds: tuple[str, ...] = ("pairs", "pools", "texts", "bench", "rated")) -> Any:
    """Draw rows: those of a layout with one to three faults, or any rows at all."""
    if draw(st.integers(0, 15)) == 0:
        return draw(st.lists(st.dictionaries(st.text(max_size=8), anything, max_size=5), max_size=6))
    rng = random.Random(draw(st.integers(0, 2**32)))
    rows: Any = MORE[draw(st.sampled_from(kinds))]
    for _ in range(rng.choice((0, 1, 1, 1, 2, 3))):
        if rng.random() < 0.3 and isinstance(rows, list) and rows:
            column = rng.choice(sorted({key for row in rows if isinstance(row, dict) for key in row}) or [""])
            value = rng.choice(EDGES)
            rows = [{**row, column: value} if isinstance(row, dict) else row for row in rows]
        else:
            rows = damaged_value(rows, rng)
    return rows


@st.composite
def containers(draw: st.DrawFn, kinds: tuple[str, ...] = ("pairs", "pools", "texts", "bench", "rated")) -> bytes:
    """Draw the bytes of a file of rows in any container, damaged once more in a quarter of the cases."""
    rows = draw(tables(kinds))
    form = draw(st.sampled_from(["lines", "lines", "lines", "array", "pretty", "csv", "parquet", "arrow", "utf-16"]))
    data = packed_as(rows, form)
    if draw(st.integers(0, 3)) == 0:
        data = damaged_bytes(data, random.Random(draw(st.integers(0, 2**32))))
    if draw(st.integers(0, 4)) == 0:
        data = gzip.compress(data, mtime=0)
        if draw(st.booleans()):
            data = damaged_bytes(data, random.Random(draw(st.integers(0, 2**32))))
    return data


def packed_as(rows: Any, form: str) -> bytes:
    """Return rows in a container, as far as it can hold them; else as JSON Lines."""
    listed = rows if isinstance(rows, list) else [rows]
    lines = "".join(json.dumps(row) + "\n" for row in listed).encode()
    if form == "array":
        return json.dumps(rows).encode()
    if form == "pretty":
        return "\n".join(json.dumps(row, indent=1) for row in listed).encode()
    if form == "utf-16":
        return lines.decode().encode("utf-16")
    if form == "csv" and listed and isinstance(listed[0], dict):
        names = list(listed[0])
        cells = [[str(row.get(name)) for name in names] for row in listed if isinstance(row, dict)]
        return "\n".join(",".join(row) for row in [names, *cells]).encode("utf-8", "replace")
    if form in ("parquet", "arrow"):
        try:
            table = pa.Table.from_pylist([row for row in listed if isinstance(row, dict)])
            out = io.BytesIO()
            if form == "parquet":
                pq.write_table(table, out)
            else:
                with pa.ipc.new_stream(out, table.schema) as stream:
                    stream.write_table(table)
            return out.getvalue()
        except Exception:  # types that a column cannot hold together
            return lines
    return lines


@st.composite
def damaged(draw: st.DrawFn, whole: bytes) -> bytes:
    """Draw bytes that were good once."""
    return damaged_bytes(whole, random.Random(draw(st.integers(0, 2**32))))


@st.composite
def arrays(draw: st.DrawFn) -> bytes:
    """Draw the bytes of a .npy file, damaged in half of the cases."""
    kind = draw(st.sampled_from(["f4", "f8", "f2", "i8", "u1", "?", "c8", "U3", "S2", "M8[s]", "f4,i2"]))
    shape = tuple(draw(st.lists(st.integers(0, 18), max_size=3)))
    out = io.BytesIO()
    np.save(out, np.zeros(shape, dtype=kind))
    data = out.getvalue()
    if draw(st.booleans()):
        data = damaged_bytes(data, random.Random(draw(st.integers(0, 2**32))))
    return data


documents = anything.map(lambda value: json.dumps(value))
yaml_texts = (
    documents
    | st.text(max_size=200)
    | st.sampled_from(
        ["a: &a [*a]", "&a [*a, *a]", "a: [" * 500, "- " * 200, "!!python/object:os.system x", "a: 1e400"]
    )
)
