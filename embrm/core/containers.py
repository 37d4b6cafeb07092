"""Bytes → rows, whatever they are packed in: the container is told from the content, never from the name alone.

JSON Lines, JSON arrays and pretty-printed objects, CSV and TSV, Parquet and Arrow; plain, gzip, bzip2, xz or zstd; in
UTF-8, -16 or -32, with any line ends.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Callable, Iterator
from typing import Any

from embrm.core.arrow_files import read_arrow
from embrm.core.bounds import COLUMNS, LINE
from embrm.core.documents import keyed_once
from embrm.core.packed import unpacked
from embrm.core.parsed import Parsed
from embrm.core.progress import tracked
from embrm.errors import DataError

Refuse = Callable[[DataError], None]

_ends = re.compile(r"\r\n|\n|\r")  # and not U+2028 and its like, which stand inside texts
_byte_ends = re.compile(rb"\r\n|\n|\r")
_REFUSED = {
    b"\x93NUMPY": "a .npy file of vectors, and no rows; give vectors with --features, beside the file of their texts",
    b"PK\x03\x04": "a zip archive (.npz, .pt and .xlsx are such); unpack it, or write JSON Lines, CSV or Parquet",
    b"version https://git-lfs": "a pointer of Git LFS, and not the file itself; fetch it by `git lfs pull`",
    b"<!DOCTYPE": "a web page, as where a download was refused; fetch the file itself",
    b"<!doctype": "a web page, as where a download was refused; fetch the file itself",
    b"<html": "a web page, as where a download was refused; fetch the file itself",
    b"ORC": "an ORC file; write JSON Lines, CSV or Parquet",
    b"Obj\x01": "an Avro file; write JSON Lines, CSV or Parquet",
    b"\x89HDF": "an HDF5 file; write JSON Lines, CSV or Parquet",
    b"\x04\x22\x4d\x18": "packed by lz4; unpack it, or pack it by gzip, bzip2, xz or zstd",
    b"\xff\x06\x00\x00sNaPpY": "packed by Snappy; unpack it, or pack it by gzip, bzip2, xz or zstd",
    b"%PDF": "a PDF; write JSON Lines, CSV or Parquet",
    b"SQLite format 3": "an SQLite data base; write JSON Lines, CSV or Parquet",
    b"\x80\x04": "a pickle, which is never opened; write JSON Lines, CSV or Parquet",
    b"\x80\x02": "a pickle, which is never opened; write JSON Lines, CSV or Parquet",
}


def parse(data: bytes, name: str, refuse: Refuse) -> Parsed:
    """Return the rows of a container.

    Args:
        data: its bytes.
        name: what messages call it; its ending only tells CSV from TSV.
        refuse: takes the error of a line that cannot be read, and raises it or lets the others be read.

    Raises:
        DataError: the bytes are no container that is known, a damaged one, or more than is read.
    """
    data = unpacked(data, name)
    if data[257:262] == b"ustar":
        raise DataError(f"{name} is a tar archive; unpack it")
    for magic, what in _REFUSED.items():
        if data.startswith(magic):
            raise DataError(f"{name} is {what}")
    if data.startswith((b"PAR1", b"ARROW1", b"\xff\xff\xff\xff")):
        return read_arrow(data, name)
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


def _from_lines(data: bytes, name: str, refuse: Refuse) -> Parsed:
    out = Parsed("line", name)
    longest, one_a_line = LINE.value, False
    for number, raw in tracked(_lines(data), "lines", total=data.count(b"\n") + 1):
        if len(raw) > longest:
            LINE.refuse(f"{name} line {number}")
        try:
            value = json.loads(raw.decode(), object_pairs_hook=keyed_once)
        except UnicodeDecodeError as error:
            refuse(DataError(_not_utf8(name, number, error)))
            continue
        except json.JSONDecodeError as error:
            pretty = None if one_a_line else _pretty(data, name)
            if pretty is not None:
                return pretty
            one_a_line = True
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
        one_a_line = True
        out.add(value, number)
    return out


def _lines(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the lines that are not blank, with their numbers; a list of all lines may take 40 times their memory."""
    start = number = 0
    for end in _byte_ends.finditer(data):
        number += 1
        if end.start() > start and (raw := data[start : end.start()]).strip():
            yield number, raw
        start = end.end()
    if (raw := data[start:]).strip():
        yield number + 1, raw


def _unread(place: str, error: Exception) -> str:
    # Among them a number too long, or a nesting too deep, for Python.
    return f"{place} {error}" if isinstance(error, DataError) else f"{place} cannot be read as JSON: {error}"


def _pretty(data: bytes, name: str) -> Parsed | None:
    """Return objects that are written over several lines each, or None where there are no such."""
    out = Parsed("line", name)
    line, counted = 1, 0
    try:
        text = data.decode()
        for value, start in _values(text):
            if not isinstance(value, dict):
                return None
            line += len(_ends.findall(text, counted, start))
            counted = start
            out.add(value, line)
    except DataError as error:
        raise DataError(_unread(name, error)) from error
    except (ValueError, RecursionError):
        return None
    return out


def _values(text: str) -> Iterator[tuple[Any, int]]:
    decoder = json.JSONDecoder(object_pairs_hook=keyed_once)
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
    out = Parsed("row", name)
    try:
        values = json.loads(text, object_pairs_hook=keyed_once)
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
    for number, value in enumerate(tracked(values, "rows"), start=1):
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
    try:
        cells = next(csv.reader([first], delimiter=best))
    except csv.Error:  # a line longer than any line of names, or one with a NUL
        return None
    return best if len(cells) > 1 and all(re.fullmatch(r"\s*[\w.-]+\s*", cell) for cell in cells) else None


def _from_csv(text: str, delimiter: str, name: str, refuse: Refuse) -> Parsed:
    out = Parsed("line", name)
    limit = csv.field_size_limit(min(sys.maxsize, 2**31 - 1))
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
        header = [cell.strip() for cell in next(reader, [])]
        COLUMNS.check(len(header), f"{name} line 1")
        if len(set(header)) < len(header):
            twice = next(cell for cell in header if header.count(cell) > 1)
            raise DataError(f"{name} has the column '{twice}' twice; keep one")
        start = reader.line_num
        for cells in tracked(reader, "lines", total=text.count("\n")):
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
