"""Matrices of vectors out of files: .npy and safetensors where they lie, columns of Parquet and Arrow laid out once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from embrm.core.arrays import Matrix, as_rows, read_npy
from embrm.core.blocks import BLOCK, read_batches
from embrm.core.bounds import DOCUMENT, STREAM
from embrm.core.documents import open_file, parse_json, translated
from embrm.core.mapped import FileMatrix
from embrm.errors import DataError

_TENSORS = {"F16": np.float16, "BF16": np.uint16, "F32": np.float32, "F64": np.float64}
_NPY, _TABLES = b"\x93NUMPY", (b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")


def open_vectors(source: str | Path) -> Matrix:
    """Return the vectors `(n, d)` of a file, which stay there until rows are asked for.

    A column of Parquet or Arrow is packed; it is written, block after block, to a temporary file of its size, which is
    removed when nobody needs it. Whole numbers, and .npy files in Fortran's order, are read into memory.

    Args:
        source: a .npy, safetensors, Parquet or Arrow file. `FILE:NAME` chooses among several tensors or columns.

    Raises:
        DataError: there is no such file, it is cut off or of another kind, holds no such matrix or several, or a number
            is not finite.
    """
    text = str(source)
    whole, _, name = text.rpartition(":") if not Path(text).exists() and ":" in text else (text, "", "")
    path = Path(whole)
    with open_file(path, most=STREAM) as stream:
        start = stream.read(9)
    if start.startswith(_TABLES):
        return as_rows(_column(path, name), name=text)
    if start[8:9] == b"{":
        return as_rows(_tensor(path, name), name=text)
    found = read_npy(path, of="vectors", mapped=start.startswith(_NPY))
    return as_rows(found, name=text)


def _tensor(path: Path, name: str) -> FileMatrix:
    with open_file(path, most=STREAM) as stream:
        size = int.from_bytes(stream.read(8), "little")
        DOCUMENT.check(size, f"the header of {path}")
        header = parse_json(stream.read(size), f"the header of {path}")
    known = {key: value for key, value in header.items() if key != "__metadata__"}

    def read() -> tuple[dict[str, tuple[int, ...]], dict[str, str], dict[str, int]]:
        shapes = {key: tuple(int(n) for n in value["shape"]) for key, value in known.items()}
        types = {key: str(value["dtype"]) for key, value in known.items()}
        return shapes, types, {key: 8 + size + int(value["data_offsets"][0]) for key, value in known.items()}

    shapes, types, begins = translated(read, name=str(path), why="is no safetensors file; it is damaged")
    chosen = _one([key for key in shapes if len(shapes[key]) == 2 and types[key] in _TENSORS], list(shapes), path, name)
    rows, width = shapes[chosen]
    if min(rows, width, begins[chosen]) < 1:
        raise DataError(
            f"{path}: '{chosen}' has shape {shapes[chosen]} at byte {begins[chosen]}; it is damaged or empty"
        )
    stored, half = _TENSORS[types[chosen]], types[chosen] == "BF16"
    return FileMatrix(path, offset=begins[chosen], shape=(rows, width), stored=stored, bfloat16=half)


def _one(known: list[str], there: list[str], path: Path, name: str) -> str:
    """Return the one that is meant, or raise DataError with what to choose from."""
    if name and name not in known:
        raise DataError(f"{path} has no matrix of floats '{name}'; it has {', '.join(known or there) or 'nothing'}")
    if not name and len(known) != 1:
        found = f"{', '.join(known)}; choose one, {path}:{known[0]}" if known else f"none among {', '.join(there)}"
        raise DataError(f"{path} must hold one matrix (n, d) of floats, found {found}")
    return name or known[0]


def _column(path: Path, name: str) -> FileMatrix:
    """Write a column of lists of numbers to a temporary file, and return its rows."""
    import pyarrow as pa

    with _damaged(path):
        schema = next(read_batches(path, size=1)).schema
    lists = [f.name for f in schema if _is_list(pa, f.type)]
    chosen = _one(lists, [f.name for f in schema], path, name)
    kind = schema.field(chosen).type.value_type
    stored = np.dtype(np.float16 if pa.types.is_float16(kind) else np.float32)
    owner = tempfile.NamedTemporaryFile(prefix="embrm-", suffix=".bin")  # noqa: SIM115 - lives as long as the matrix
    rows, width = 0, 0
    with _damaged(path):
        for batch in read_batches(path, columns=[chosen], size=BLOCK):
            values = _matrix(batch.column(0), path, rows)
            if rows and len(values) and values.shape[1] != width:
                raise DataError(f"{path} row {rows + 1}: '{chosen}' has {values.shape[1]} numbers, and {width} before")
            width = values.shape[1] if len(values) else width
            values.astype(stored).tofile(owner.file)
            rows += len(values)
    owner.flush()
    return FileMatrix(owner.name, offset=0, shape=(rows, width), stored=stored, owner=owner)


def _is_list(pa: Any, kind: Any) -> bool:
    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    return bool(listed and pa.types.is_floating(kind.value_type))


def _matrix(column: Any, path: Path, before: int) -> Any:
    """Return a block of lists as `(rows, width)`."""
    values = column.flatten()
    if column.null_count or values.null_count:
        raise DataError(f"{path}: a vector, or a number of one, is missing in the rows from {before + 1}")
    flat = values.to_numpy(zero_copy_only=False)
    lengths = column.value_lengths() if hasattr(column, "value_lengths") else None
    sizes = np.full(len(column), len(flat) // max(1, len(column))) if lengths is None else lengths.to_numpy()
    other = np.flatnonzero(sizes != sizes[:1])
    if other.size:
        raise DataError(
            f"{path} row {before + int(other[0]) + 1}: a vector has {sizes[other[0]]} numbers, and {sizes[0]} before"
        )
    return flat.reshape(len(column), -1)


@contextmanager
def _damaged(path: Path) -> Iterator[None]:
    import pyarrow as pa

    try:
        yield
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{path} is a damaged file: {error}") from error
