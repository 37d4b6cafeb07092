"""Laws over layouts × containers × content: no traceback, no prompt lost or doubled, the same texts from all."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import warnings
from collections.abc import Callable
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embrm.data import RowRules
from embrm.data.faults import ReadingWarning
from embrm.data.layouts import get, names
from embrm.data.texts import Texts, read_texts
from embrm.errors import EmbrmError
from tests.written_rows import OTHER, WHOLE, Row, Turns, rows_of


def lines(rows: list[Row]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def table(rows: list[Row]) -> bytes:
    """Return CSV; what is no text is written as JSON, as pandas' users do."""
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(rows[0]))
    writer.writeheader()
    writer.writerows(
        {k: v if isinstance(v, str) else json.dumps(v, ensure_ascii=False) for k, v in row.items()} for row in rows
    )
    return out.getvalue().encode()


def columns(rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist(rows)


def parquet(rows: list[Row]) -> bytes:
    out = io.BytesIO()
    pq.write_table(columns(rows), out)
    return out.getvalue()


def arrow(rows: list[Row]) -> bytes:
    out = io.BytesIO()
    data = columns(rows)
    with pa.ipc.new_stream(out, data.schema) as writer:
        writer.write_table(data)
    return out.getvalue()


CONTAINERS: dict[str, Callable[[list[Row]], bytes]] = {
    "lines": lines,
    "array": lambda rows: json.dumps(rows).encode(),
    "pretty": lambda rows: json.dumps(rows, indent=2, ensure_ascii=False).encode(),
    "utf-16": lambda rows: lines(rows).decode().encode("utf-16"),
    "gzip": lambda rows: gzip.compress(lines(rows)),
    "bz2": lambda rows: bz2.compress(lines(rows)),
    "xz": lambda rows: lzma.compress(lines(rows)),
    "csv": table,
    "parquet": parquet,
    "arrow": arrow,
}
# Every turn has a word of its own, so that it can be counted.
noise = st.text(st.characters(codec="utf-8", exclude_characters='<>[]｜|~{}\r\x00"'), max_size=10)


@st.composite
def contents(draw: st.DrawFn, word: str) -> Any:
    """Return the content of a message that says a word: text, or parts of text."""
    text = f"{word} {draw(noise)}".strip()
    return draw(st.sampled_from([text, f" {text}\n", [{"type": "text", "text": text}]]))


@st.composite
def conversations(draw: st.DrawFn) -> Turns:
    """Return a prompt: perhaps a system turn, earlier turns, perhaps a call of a tool, and a question."""
    turns: Turns = []
    if draw(st.booleans()):
        turns.append({"role": "system", "content": "zsystem " + draw(noise)})
    for i in range(draw(st.integers(0, 2))):
        turns.append({"role": "user", "content": draw(contents(f"zasked{i}z"))})
        answer = draw(contents(f"zanswered{i}z"))
        if draw(st.booleans()) and isinstance(answer, str):
            answer = f"<think>zthought {draw(noise)}</think>{answer}"
        turns.append({"role": "assistant", "content": answer})
    turns.append({"role": "user", "content": draw(contents("zlastz"))})
    if draw(st.booleans()):
        call = {"type": "function", "function": {"name": "zcallz", "arguments": "{}"}}
        turns.append({"role": "assistant", "content": None, "tool_calls": [call]})
        turns.append({"role": "tool", "content": draw(contents("ztoolz"))})
    return turns


def said(turns: Turns) -> set[str]:
    """Return the words that a prompt must hold, once each."""
    text = json.dumps([turn for turn in turns if turn["role"] != "system"])
    found = {f"z{kind}{i}z" for kind in ("asked", "answered") for i in range(3)} | {"zlastz", "zcallz", "ztoolz"}
    return {word for word in found if word in text}


def pairs_of(texts: Texts) -> set[tuple[str, str]]:
    return set(zip(texts.prompts, texts.responses, strict=True))


@settings(max_examples=30, deadline=None)
@given(layout=st.sampled_from(WHOLE), turns=conversations(), response=noise.map("zsaidz {}".format), thought=noise)
def test_no_prompt_is_lost_or_doubled_and_every_container_gives_the_same(
    layout: str, turns: Turns, response: str, thought: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = rows_of(layout, turns, f"<think>zthought {thought}</think>\n{response}")
    path = tmp_path_factory.mktemp("law") / "rows"
    first: set[tuple[str, str]] = set()
    for name, write in CONTAINERS.items():
        try:
            data = write(rows)
        except (pa.ArrowException, ValueError):  # Arrow has no column of text and lists
            assert name in ("parquet", "arrow")
            continue
        source = path.with_suffix(".csv") if name == "csv" else path  # a table of one column is told by its name
        source.write_bytes(data)
        texts = read_texts(source)
        assert texts.account["layout"] == layout
        first = first or pairs_of(texts)
        assert pairs_of(texts) == first, name
    assert {r for _, r in first} == {response.strip(), OTHER}
    (prompt,) = {p for p, _ in first}
    assert {word: prompt.count(word) for word in said(turns)} == dict.fromkeys(said(turns), 1)
    assert not any(word in prompt for word in ("zsystem", "zthought", "zsaidz", OTHER))


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.just(10**400)
    | st.just("\ud800"),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["role", "content", "from", "value", "text", "type", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)


@settings(max_examples=80, deadline=None)
@given(layout=st.sampled_from(names()), data=st.data())
def test_whatever_stands_in_a_column_it_is_read_or_refused_by_name(
    layout: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    rows = [dict(row) for row in get(layout)().example]
    for row in rows:
        for column in data.draw(st.lists(st.sampled_from(sorted(row)), max_size=2)):
            row[column] = data.draw(values)
    path = tmp_path_factory.mktemp("odd") / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for kind in (None, *get(layout)().kinds):
        for how in ("stop", "skip"):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ReadingWarning)
                try:
                    texts = read_texts(path, kind=kind, rules=RowRules(on_bad_row=how))
                except EmbrmError as error:
                    refused = str(error)
                else:
                    refused = ""
            if refused:
                assert str(path) in refused
                continue
            assert len(texts) == texts.offsets[-1] > 0
            for text in (*texts.prompts, *texts.responses):
                assert text.encode().decode() == text
