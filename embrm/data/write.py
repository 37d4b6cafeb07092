"""Texts → rows in TRL's columns or pools, as JSON Lines or Parquet."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from embrm.core.files import write_file, write_rows
from embrm.data.texts import Texts

KEPT = ("weight", "margin", "tie", "annotator", "class")


def common_rows(texts: Texts) -> list[dict[str, Any]]:
    """Return rows that read as the same texts again: TRL's columns of pairs, or pools, or single texts.

    Texts are written as they are embedded, by the rule of `embrm.data.chat`.
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
            new |= {"responses": said} | {name: row[name] for name in ("gold", "policy") if row.get(name) is not None}
        else:
            new["response"] = said[0]
        numbers = {name: row[name] for name in KEPT if row.get(name) is not None}
        if "tie" in numbers:
            numbers["tie"] = bool(numbers["tie"])
        out.append({**new, **numbers})
    return out


def write_any(target: str | Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as Parquet where the name ends in .parquet, else as `embrm.core.files.write_rows` does.

    Raises:
        OptionError: the file cannot be written.
    """
    if Path(target).suffix != ".parquet":
        write_rows(target, rows)
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = list(rows)
    columns = list(dict.fromkeys(name for row in rows for name in row))
    table = pa.table({name: [row.get(name) for row in rows] for name in columns})
    with write_file(target) as part:
        pq.write_table(table, part)
