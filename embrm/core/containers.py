"""Bytes → rows, whatever they are packed in: the container is told from the content, never from the name alone.

JSON Lines, JSON arrays and pretty-printed objects, CSV and TSV, Parquet and Arrow; plain, gzip, bzip2, xz or zstd; in
UTF-8, -16 or -32, with any line ends.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from embrm.errors import DataError

Refuse = Callable[[DataError], None]

_ends = re.compile(r"\r\n|\n|\r")  # and not U+2028 and its like, which stand inside texts
_byte_ends = re.compile(rb"\r\n|\n|\r")
_PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}
_REFUSED = {
    b"\x93NUMPY": "a .npy file of vectors, and no rows; give vectors with --features, beside the file of their texts",
    b"PK\x03\x04": "a zip archive (.npz, .pt and .xlsx are such); unpack it, or write JSON Lines, CSV or Parquet",
    b"%PDF": "a PDF; write JSON Lines, CSV or Parquet",
    b"SQLite format 3": "an SQLite data base; write JSON Lines, CSV or Parquet",
    b"\x80\x04": "a pickle, which is never opened; write JSON Lines, CSV or Parquet",
    b"\x80\x02": "a pickle, which is never opened; write JSON Lines, CSV or Parquet",
}


@dataclass
class Parsed:
    """Rows as they stood in a container.

    Attributes:
        unit: what is counted, `"line"` or `"row"`.
        values, numbers: the rows, and the number of each from 1.
    """

    unit: str = "row"
    values: list[dict[str, Any]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)

    def add(self, value: dict[str, Any], number: int) -> None:
        """Append a row."""
        self.values.append(value)
        self.numbers.append(number)


def parse(data: bytes, name: str, refuse: Refuse) -> Parsed:
    """Return the rows of a container.

    Args:
        data: its bytes.
        name: what messages call it; its ending only tells CSV from TSV.
        refuse: takes the error of a line that cannot be read, and raises it or lets the others be read.

    Raises:
        DataError: the bytes are no container that is known, or a damaged one.
    """
    data = _unpacked(data, name)
    for magic, what in _REFUSED.items():
        if data.startswith(magic):
            raise DataError(f"{name} is {what}")
    if data.startswith((b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")):
        return _from_arrow(data, name)
    encoding = json.detect_encoding(data[:4])
    if encoding in ("utf-8", "utf-8-sig"):
        data = data.removeprefix(b"\xef\xbb\xbf")
        start = data[:4096].lstrip()
        if start.startswith(b"{"):
            return _from_lines(data, name, refuse)
        text = _decoded(data, name)
    else:
        try:
            text = _complete(data, encoding).decode(encoding)
        except UnicodeDecodeError as error:
            raise DataError(f"{name} looks like {encoding}, and is not: {error}; convert the file to UTF-8") from error
    text = text.removeprefix("\ufeff")
    if text.lstrip()[:1] == "[":
        return _from_array(text, name, refuse)
    delimiter = _delimiter(text, name)
    if delimiter:
        return _from_csv(text, delimiter, name, refuse)
    return _from_lines(text.encode("utf-8", "surrogatepass"), name, refuse)


def _complete(data: bytes, encoding: str) -> bytes:
    """Return data whose last line end is whole, which tools for bytes cut after its first byte."""
    odd = len(data) % (4 if "32" in encoding else 2)
    return data[:-odd] if odd and not data[-odd:].strip(b"\r\n\x00") else data


def _unpacked(data: bytes, name: str) -> bytes:
    kind = next((kind for magic, kind in _PACKED.items() if data.startswith(magic)), None)
    if kind is None:
        return data
    try:
        if kind == "zstd":
            import pyarrow as pa

            return bytes(pa.CompressedInputStream(pa.BufferReader(data), "zstd").read())
        return {"gzip": gzip.decompress, "bzip2": bz2.decompress, "xz": lzma.decompress}[kind](data)
    except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
        raise DataError(f"{name} cannot be read: {error}; the {kind} file is damaged or cut off") from error


def _decoded(data: bytes, name: str) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        number = len(_byte_ends.findall(data[: error.start])) + 1
        raise DataError(_not_utf8(name, number, error)) from error


def _not_utf8(name: str, number: int, error: UnicodeDecodeError) -> str:
    return (
        f"{name} line {number} is not UTF-8 (byte 0x{error.object[error.start]:02x} at position {error.start}); "
        "convert the file to UTF-8"
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [key for key, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise DataError(f"has the key '{twice}' twice; keep one")
    return found


def _from_lines(data: bytes, name: str, refuse: Refuse) -> Parsed:
    out = Parsed("line")
    for number, raw in enumerate(_byte_ends.split(data), start=1):
        if not raw.strip():
            continue
        try:
            value = json.loads(raw.decode(), object_pairs_hook=_object)
        except UnicodeDecodeError as error:
            refuse(DataError(_not_utf8(name, number, error)))
            continue
        except json.JSONDecodeError as error:
            pretty = None if out.values else _pretty(data, name)
            if pretty is not None:
                return pretty
            refuse(DataError(f"{name} line {number} is not valid JSON: {error.msg} at column {error.colno}"))
            continue
        except (DataError, ValueError, RecursionError) as error:
            refuse(DataError(_unread(f"{name} line {number}", error)))
            continue
        if not isinstance(value, dict):
            refuse(
                DataError(
                    f"{name} line {number} must be a JSON object, got {type(value).__name__}; write one object a line"
                )
            )
            continue
        out.add(value, number)
    return out


def _unread(place: str, error: Exception) -> str:
    # Among them a number too long, or a nesting too deep, for Python.
    return f"{place} {error}" if isinstance(error, DataError) else f"{place} cannot be read as JSON: {error}"


def _pretty(data: bytes, name: str) -> Parsed | None:
    """Return objects that are written over several lines each, or None where there are no such."""
    out = Parsed("line")
    try:
        text = data.decode()
        for value, start in _values(text):
            if not isinstance(value, dict):
                return None
            out.add(value, len(_ends.findall(text[:start])) + 1)
    except DataError as error:
        raise DataError(_unread(name, error)) from error
    except (ValueError, RecursionError):
        return None
    return out


def _values(text: str) -> Iterator[tuple[Any, int]]:
    decoder = json.JSONDecoder(object_pairs_hook=_object)
    position = 0
    while True:
        blank = re.compile(r"\s*").match(text, position)
        position = blank.end() if blank else position
        if position == len(text):
            return
        value, end = decoder.raw_decode(text, position)
        yield value, position
        position = end


def _from_array(text: str, name: str, refuse: Refuse) -> Parsed:
    out = Parsed("row")
    try:
        values = json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        first = _ends.split(text.lstrip(), maxsplit=1)[0]
        try:  # lines of arrays are no array of rows
            json.loads(first)
        except ValueError:
            place = f"line {error.lineno}, column {error.colno}"
            raise DataError(f"{name} begins as a JSON array and is not valid JSON: {error.msg} at {place}") from error
        return _from_lines(text.encode("utf-8", "surrogatepass"), name, refuse)
    except (DataError, ValueError, RecursionError) as error:
        raise DataError(_unread(name, error)) from error
    if isinstance(values, list) and values and not any(isinstance(value, dict) for value in values):
        return _from_lines(text.encode("utf-8", "surrogatepass"), name, refuse)
    for number, value in enumerate(values, start=1):
        if isinstance(value, dict):
            out.add(value, number)
        else:
            refuse(DataError(f"{name} row {number} must be a JSON object, got {type(value).__name__}"))
    return out


def _delimiter(text: str, name: str) -> str | None:
    """Return what parts the cells, or None where the text is no table: its first line must look like names."""
    first = _ends.split(text.lstrip("\r\n"), maxsplit=1)[0]
    if not first.strip() or first.lstrip()[0] in "{[":
        return None
    named = re.sub(r"\.(gz|bz2|xz|zst)$", "", name.lower())
    counts = {sign: first.count(sign) for sign in ",\t;"}
    best = "\t" if named.endswith(".tsv") else max(counts, key=lambda sign: counts[sign])
    if named.endswith((".csv", ".tsv")):
        return best
    cells = next(csv.reader([first], delimiter=best))
    return best if len(cells) > 1 and all(re.fullmatch(r"\s*[\w.-]+\s*", cell) for cell in cells) else None


def _from_csv(text: str, delimiter: str, name: str, refuse: Refuse) -> Parsed:
    out = Parsed("line")
    limit = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        header = [cell.strip() for cell in next(reader, [])]
        if len(set(header)) < len(header):
            twice = next(cell for cell in header if header.count(cell) > 1)
            raise DataError(f"{name} has the column '{twice}' twice; keep one")
        start = reader.line_num
        for cells in reader:
            number, start = start + 1, reader.line_num
            if not cells:
                continue
            if len(cells) != len(header):
                refuse(
                    DataError(
                        f"{name} line {number} has {len(cells)} cells, and the first line names {len(header)} columns; "
                        "quote cells that hold commas, quotes or line ends"
                    )
                )
                continue
            out.add(dict(zip(header, cells, strict=True)), number)
    except csv.Error as error:
        raise DataError(f"{name} line {reader.line_num} cannot be read as CSV: {error}") from error
    finally:
        csv.field_size_limit(limit)
    return out


def _from_arrow(data: bytes, name: str) -> Parsed:
    import pyarrow as pa
    import pyarrow.parquet as pq

    kind = "Parquet" if data.startswith(b"PAR1") else "Arrow"
    try:
        if kind == "Parquet":
            table = pq.read_table(pa.BufferReader(data))
        elif data.startswith(b"ARROW1"):
            table = pa.ipc.open_file(data).read_all()
        else:
            table = pa.ipc.open_stream(data).read_all()
        values = table.to_pylist(maps_as_pydicts="lossy")
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{name} is a damaged {kind} file: {error}") from error
    return Parsed("row", values, list(range(1, len(values) + 1)))
