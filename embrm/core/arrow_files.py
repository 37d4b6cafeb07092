"""Parquet and Arrow files → rows, batch by batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from embrm.core.bounds import BYTES, COLUMNS, ROWS, unpacked_bound
from embrm.core.documents import translated
from embrm.core.parsed import Parsed
from embrm.core.progress import tracked
from embrm.errors import DataError

BATCH = 256  # rows of Parquet that are unpacked at once


def read_arrow(data: bytes, name: str) -> Parsed:
    """Return the rows of a Parquet or Arrow file.

    Raises:
        DataError: it is damaged, or has more rows, columns or bytes than are read.
    """
    kind = "Parquet" if data.startswith(b"PAR1") else "Arrow"
    return translated(lambda: _arrow_rows(data, name), name=name, why=f"is a damaged {kind} file")


def _arrow_rows(data: bytes, name: str) -> Parsed:
    """Return the rows batch by batch: what a file says of its size is asked for before memory is taken."""
    columns, batches = _parquet(data, name) if data.startswith(b"PAR1") else _arrow(data)
    COLUMNS.check(len(columns), name)
    for column in columns:
        if columns.count(column) > 1:
            raise DataError(f"{name} has the column '{column}' twice; keep one")
    out, size, most = Parsed("row", name), 0, unpacked_bound(len(data))
    for batch in tracked(batches, "batches of rows"):
        ROWS.check(len(out.values) + batch.num_rows, name)
        batch.validate(full=True)  # Arrow trusts the offsets of a file, and reads other memory by wrong ones
        size += batch.nbytes
        if size > most:
            BYTES.refuse(f"{name}, unpacked,")
        for value in batch.to_pylist(maps_as_pydicts="lossy"):
            out.add(value, len(out.values) + 1)
    return out


def _parquet(data: bytes, name: str) -> tuple[list[str], Iterator[Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    file = pq.ParquetFile(pa.BufferReader(data))
    about = file.metadata
    ROWS.check(about.num_rows, name)
    size = sum(about.row_group(i).total_byte_size for i in range(about.num_row_groups))
    if size > unpacked_bound(len(data)):
        BYTES.refuse(f"{name}, unpacked,")
    return file.schema_arrow.names, file.iter_batches(batch_size=BATCH)


def _arrow(data: bytes) -> tuple[list[str], Iterator[Any]]:
    import pyarrow as pa

    if not data.startswith(b"ARROW1"):
        stream = pa.ipc.open_stream(data)
        return stream.schema.names, iter(stream)
    file = pa.ipc.open_file(data)
    return file.schema.names, (file.get_batch(i) for i in range(file.num_record_batches))
