"""Rows of files that do not fit into memory, block after block: JSON Lines, packed or not, Parquet and Arrow."""

from __future__ import annotations

import json
import lzma
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from embrm.core.bounds import COLUMNS, LINE, STREAM
from embrm.core.containers import parse
from embrm.core.documents import open_file
from embrm.core.files import Rows
from embrm.core.packed import kind_of, unpacking
from embrm.core.parsed import Parsed
from embrm.core.sources import find_shards
from embrm.errors import DataError, OptionError

BLOCK = 4096  # rows
BYTES = 16 << 20  # of lines that are taken at once, were they fewer rows than a block


def read_blocks(source: str | Path, *, size: int = BLOCK) -> Iterator[Rows]:
    """Yield the rows of a file, or of the shards that a folder or a pattern names, in blocks of at most `size`.

    Lines that are no rows are in `Rows.refused`, as where `embrm.core.files.read_rows` is told not to stop.

    Raises:
        DataError: there is no such file, it is empty or damaged, or of a kind that must be read as a whole.
        OptionError: `size` is less than 1.
    """
    if size < 1:
        raise OptionError(f"a block must have at least 1 row, got {size}")
    path = Path(source)
    several = path.is_dir() or (not path.exists() and bool(set("*?[") & set(str(source))))
    if not several and not path.is_file():
        raise DataError(f"there is no file {source}; blocks are read of files, of a folder of them, or of a pattern")
    files = find_shards(str(source)) if several else [path]
    found = 0
    for file in files:
        for rows in _blocks(file, size):
            files_of = [str(file)] * len(rows) if len(files) > 1 else []
            yield Rows(str(source), rows.values, rows.numbers, rows.unit, files_of, rows.refused, start=found)
            found += len(rows)
    if not found:
        raise DataError(f"{source} is empty; expected at least one row")


def _blocks(path: Path, size: int) -> Iterator[Rows]:
    try:
        with ExitStack() as stack:
            stream = stack.enter_context(open_file(path, most=STREAM))
            magic = stream.read(8)
            stream.seek(0)
            packed = kind_of(magic)
            if magic.startswith((b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")):
                yield from _tables(path, size)
            else:
                plain = stack.enter_context(unpacking(stream, packed)) if packed else stream
                yield from _lines(plain, str(path), size)
    except DataError:
        raise
    except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}; the file is damaged or cut off") from error


def _lines(stream: Any, name: str, size: int) -> Iterator[Rows]:
    done = 0
    for i, lines in enumerate(_taken(stream, name, size)):
        if i == 0:
            _check_first(lines, name)
        refused: list[str] = []
        try:
            parsed = parse(b"".join(lines), name, lambda error, told=refused: told.append(str(error)))  # type: ignore[misc]
        except DataError as error:
            raise DataError(_moved(str(error), name, done)) from error
        numbers = [done + n for n in parsed.numbers]
        yield Rows(name, parsed.values, numbers, parsed.unit, refused=[_moved(told, name, done) for told in refused])
        done += len(lines)


def _moved(message: str, name: str, by: int) -> str:
    """Return a message about a line of a block with its number in the file."""
    start, line, rest = message.partition(f"{name} line ")
    number = re.match(r"\d+", rest)
    return message if start or number is None else f"{line}{int(number[0]) + by}{rest[number.end() :]}"


def _taken(stream: Any, name: str, size: int) -> Iterator[list[bytes]]:
    lines: list[bytes] = []
    weight, longest = 0, LINE.value
    while line := stream.readline(longest + 1):
        if len(line) > longest:
            LINE.refuse(name)
        lines.append(line)
        weight += len(line)
        if len(lines) == size or weight >= BYTES:
            yield lines
            lines, weight = [], 0
    if lines:
        yield lines


def _check_first(lines: list[bytes], name: str) -> None:
    """Raise DataError where the first line is not an object: what is read by blocks must not need the lines before."""
    first = next((line for line in lines if line.strip()), b"").removeprefix(b"\xef\xbb\xbf")
    try:
        whole = isinstance(json.loads(first), dict)
    except ValueError:
        whole = False
    if not whole:
        raise DataError(
            f"{name} cannot be read in blocks, as its first line is no JSON object; only JSON Lines in UTF-8, Parquet "
            "and Arrow can be: write such a file, or read it as a whole"
        )


def _tables(path: Path, size: int) -> Iterator[Rows]:
    import pyarrow as pa

    done = 0
    try:
        for batch in read_batches(path, size=size):
            COLUMNS.check(batch.num_columns, str(path))
            for start in range(0, batch.num_rows, size):
                rows = Parsed("row", str(path))
                for value in batch.slice(start, size).to_pylist(maps_as_pydicts="lossy"):
                    done += 1
                    rows.add(value, done)
                yield Rows(str(path), rows.values, rows.numbers)
    except pa.ArrowException as error:
        raise DataError(f"{path} is a damaged file: {error}") from error


def read_batches(path: Path, *, size: int, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """Yield the record batches of a Parquet or Arrow file, those of Parquet of at most `size` rows.

    Args:
        path: the file.
        size: rows.
        columns: which to read; None reads all.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    with open_file(path, most=STREAM) as stream, pa.PythonFile(stream, "r") as source:
        magic = stream.read(8)
        stream.seek(0)
        if magic.startswith(b"PAR1"):
            batches: Iterator[Any] = pq.ParquetFile(source).iter_batches(batch_size=size, columns=columns)
        elif magic.startswith(b"ARROW1"):
            file = pa.ipc.open_file(source)
            batches = (file.get_batch(i) for i in range(file.num_record_batches))
        else:
            batches = iter(pa.ipc.open_stream(source))
        for batch in batches:
            batch.validate(full=True)  # Arrow trusts the offsets of a file, and reads other memory by wrong ones
            yield batch if columns is None else batch.select(columns)
