"""Rows of files that do not fit into memory, block after block: JSON Lines, packed or not, Parquet and Arrow."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO

from embrm.core.containers import parse
from embrm.core.files import Rows
from embrm.core.sources import find_shards
from embrm.errors import DataError, OptionError

BLOCK = 4096  # rows
BYTES = 16 << 20  # of lines that are taken at once, were they fewer rows than a block
_PACKED: dict[bytes, Callable[[Any], Any]] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
_ZSTD = b"\x28\xb5\x2f\xfd"


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
            stream = stack.enter_context(path.open("rb"))
            magic = stream.read(8)
            stream.seek(0)
            if magic.startswith((b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")):
                yield from _tables(path, magic, size)
            else:
                yield from _lines(stack.enter_context(_unpacked(stream, magic)), str(path), size)
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}; the file is damaged or cut off") from error


def _unpacked(stream: BinaryIO, magic: bytes) -> Any:
    if magic.startswith(_ZSTD):
        import pyarrow as pa

        return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd"))
    return next((unpack for sign, unpack in _PACKED.items() if magic.startswith(sign)), lambda plain: plain)(stream)


def _lines(stream: Any, name: str, size: int) -> Iterator[Rows]:
    done = 0
    for i, lines in enumerate(_taken(stream, size)):
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


def _taken(stream: Any, size: int) -> Iterator[list[bytes]]:
    lines: list[bytes] = []
    weight = 0
    for line in stream:
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


def _tables(path: Path, magic: bytes, size: int) -> Iterator[Rows]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    done = 0
    try:
        for batch in _batches(pa, pq, path, magic, size):
            for start in range(0, batch.num_rows, size):
                values = batch.slice(start, size).to_pylist(maps_as_pydicts="lossy")
                yield Rows(str(path), values, list(range(done + 1, done + len(values) + 1)))
                done += len(values)
    except pa.ArrowException as error:
        raise DataError(f"{path} is a damaged file: {error}") from error


def _batches(pa: Any, pq: Any, path: Path, magic: bytes, size: int) -> Iterator[Any]:
    if magic.startswith(b"PAR1"):
        with pq.ParquetFile(path) as file:
            yield from file.iter_batches(batch_size=size)
        return
    with pa.memory_map(str(path)) as mapped:
        if magic.startswith(b"ARROW1"):
            file = pa.ipc.open_file(mapped)
            yield from (file.get_batch(i) for i in range(file.num_record_batches))
        else:
            yield from pa.ipc.open_stream(mapped)
