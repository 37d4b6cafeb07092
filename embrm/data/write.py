"""Texts → rows in TRL's columns or pools, as JSON Lines or Parquet."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from embrm.core.documents import translated
from embrm.core.files import write_file, write_rows
from embrm.data.numbers import number, number_or
from embrm.data.texts import Texts

NUMBERS = ("weight", "margin", "tie")
NAMES = ("annotator", "class", "cluster")


def common_rows(texts: Texts) -> list[dict[str, Any]]:
    """Return rows that read as the same texts again: TRL's columns of pairs, or pools, or single texts.

    Texts are written as they are embedded, by the rule of `embrm.data.chat`.

    Raises:
        DataError: a weight, margin, tie or gold is no finite number.
    """
    out = []
    for i, row in enumerate(texts.rows.values):
        start, stop = texts.offsets[i : i + 2].tolist()
        said = texts.responses[start:stop]
        new: dict[str, Any] = {"id": str(row["id"])} if row.get("id") not in (None, "") else {}
        new["prompt"] = texts.prompts[start]
        if texts.kind == "pairs":
            new |= {"chosen": said[0], "rejected": said[1]}
        elif texts.kind == "pools":
            new["responses"] = said
            if row.get("gold") is not None:
                new["gold"] = [number(value, f"{texts.rows.where(i)}: gold") for value in row["gold"]]
            if row.get("policy") is not None:
                new["policy"] = [str(name) for name in row["policy"]]
        else:
            new["response"] = said[0]
        out.append(new | _kept(row, texts.rows.where(i)))
    return out


def _kept(row: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the columns that are written beside the texts, as values that are read again as the same."""
    kept: dict[str, Any] = {}
    for name in NUMBERS:
        value = number_or(row.get(name), f"{where}: {name}", None)
        if value is not None:
            kept[name] = value != 0 if name == "tie" else value
    return kept | {name: str(row[name]) for name in NAMES if row.get(name) not in (None, "")}


def write_any(target: str | Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as Parquet where the name ends in .parquet, else as `embrm.core.files.write_rows` does.

    Raises:
        OptionError: the file cannot be written.
        DataError: Parquet cannot hold a value, such as half a surrogate pair in an id.
    """
    if Path(target).suffix != ".parquet":
        write_rows(target, rows)
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = list(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = translated(
        lambda: pa.table({name: [row.get(name) for row in rows] for name in columns}),
        name=str(target),
        why="cannot hold these rows, and JSON Lines may",
    )
    with write_file(target) as part:
        pq.write_table(table, part)
