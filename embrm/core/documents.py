"""Files as bytes, and JSON documents, read within the bounds of `embrm.core.bounds`."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from embrm.core.bounds import BYTES, DEPTH, DOCUMENT, Bound, is_deeper
from embrm.errors import DataError

T = TypeVar("T")
# A FIFO without a writer would be waited for. Windows has neither, but opens files as text unless told otherwise.
_FLAGS = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)


@contextmanager
def open_file(path: str | Path, *, most: Bound = BYTES) -> Iterator[BufferedReader]:
    """Open a file to read bytes.

    Args:
        path: the file.
        most: how many bytes it may have.

    Raises:
        DataError: it cannot be read, is no file (a folder, a pipe, a device), or is larger.
    """
    try:
        handle = os.open(path, _FLAGS)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise DataError(_unreadable(path, error)) from error
    try:
        stream = os.fdopen(handle, "rb")
    except OSError as error:  # a folder
        os.close(handle)
        raise DataError(_unreadable(path, error)) from error
    with stream:
        about = os.fstat(handle)
        if not stat.S_ISREG(about.st_mode):
            raise DataError(
                f"{path} is a pipe or a device, and no file; write it to a file, or where rows are read give - and "
                "pipe it into standard input"
            )
        most.check(about.st_size, str(path))
        try:
            yield stream
        except OSError as error:
            raise DataError(_unreadable(path, error)) from error


def read_bytes(path: str | Path, *, most: Bound = BYTES) -> bytes:
    """Return the bytes of a file; see `open_file`.

    Raises:
        DataError: see `open_file`.
    """
    with open_file(path, most=most) as stream:
        return read_most(stream, str(path), most=most)


def read_most(stream: BinaryIO, name: str, *, most: Bound = BYTES) -> bytes:
    """Return all bytes of a stream.

    Raises:
        DataError: there are more than the bound allows.
    """
    data = stream.read(most.value + 1)
    most.check(len(data), name)
    return data


def read_json(path: str | Path) -> Any:
    """Return the value of a JSON file.

    Raises:
        DataError: see `open_file` and `parse_json`.
    """
    return parse_json(read_bytes(path, most=DOCUMENT), str(path))


def parse_json(data: bytes | str, name: str) -> Any:
    """Return the value of a JSON document in UTF-8.

    Args:
        data: the document.
        name: what messages call it.

    Raises:
        DataError: it is no JSON, names a key twice, is nested too deep, or holds a number too long for Python.
    """
    try:
        value = json.loads(data.decode() if isinstance(data, bytes) else data, object_pairs_hook=keyed_once)
    except UnicodeDecodeError as error:
        raise DataError(f"{name} is not UTF-8 at byte {error.start}; it is damaged, or no JSON") from error
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        raise DataError(f"{name} is not valid JSON: {error.msg} at {place}") from error
    except RecursionError as error:
        DEPTH.refuse(name, error)
    except (ValueError, DataError) as error:  # a number too long, a key that stands twice
        raise DataError(f"{name} {error}" if isinstance(error, DataError) else f"{name}: {error}") from error
    if is_deeper(value, DEPTH.value):
        DEPTH.refuse(name)
    return value


def json_line(row: Mapping[str, Any], *, nan: bool = False) -> str:
    """Return a row as a line of JSON that is read again as the same.

    Args:
        row: JSON-ready values.
        nan: whether NaN and infinity are written, as Python reads them and JSON does not have them.

    Raises:
        DataError: the row holds what JSON has not.
    """
    try:
        line = json.dumps(row, ensure_ascii=False, allow_nan=nan)
        line.encode()
    except UnicodeEncodeError:  # half a surrogate pair, such as an id may hold, is read again from its escape
        line = json.dumps(row, allow_nan=nan)
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(f"a row cannot be written as JSON ({error}), so that it could not be read again") from error
    return line + "\n"


def keyed_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return a JSON object, or raise DataError where a key stands twice: one of both values would be lost."""
    found = dict(pairs)
    if len(found) < len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]
        raise DataError(f"has the key '{twice}' twice; keep one")
    return found


def translated(read: Callable[[], T], *, name: str, why: str) -> T:
    """Return what a library reads of a file, its exceptions told as damage of that file.

    A library may raise anything at a file that was damaged with care, so that no list of its exceptions is complete.

    Args:
        read: calls the library.
        name: of the file.
        why: what the file then is, and what to do about it.

    Raises:
        DataError: the library raised.
    """
    try:
        return read()
    except DataError as error:
        if name in str(error):
            raise
        raise DataError(f"{name} {why}: {error}") from error
    except (Exception, MemoryError) as error:
        said = str(error).strip().partition("\n")[0][:200] or type(error).__name__
        raise DataError(f"{name} {why}: {said}") from error


def _unreadable(path: str | Path, error: Exception) -> str:
    return f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"
