"""Rows in (JSON Lines, gzip, Parquet, standard input, a hub dataset), atomic writes out, content hashes."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from embrm.errors import DataError, MissingExtraError, OptionError

_hub_id = re.compile(r"[\w.-]+/[\w.-]+(:\w+)?")


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a file and where each of them stood.

    Attributes:
        name: the file, as messages call it.
        values: one mapping a row.
        numbers: the number of each row's line, from 1.
        unit: what is counted, `"line"` or `"row"`.
    """

    name: str
    values: list[dict[str, Any]]
    numbers: list[int]
    unit: str = "row"

    def __len__(self) -> int:
        return len(self.values)

    def where(self, i: int) -> str:
        """Return the place of row `i`, counted from 0, for a message."""
        return f"{self.name} {self.unit} {self.numbers[i]}"


def read_rows(source: str | Path) -> Rows:
    """Read all rows of a file.

    The format is told from the content: JSON Lines, plain or gzip, or Parquet.

    Args:
        source: a path, `"-"` for standard input, or the id of a hub dataset, `"owner/name"` or `"owner/name:split"`
            (split `train` unless given).

    Raises:
        DataError: there is no such file, it is empty, or a line is not one JSON object in UTF-8 (its number is named).
        MissingExtraError: the source is a hub dataset and `datasets` is not installed.
    """
    if str(source) == "-":
        rows = _parse(cast(io.BufferedReader, sys.stdin.buffer), "standard input")
    elif Path(source).is_dir():
        raise DataError(f"{source} is a folder; expected a JSON Lines or Parquet file")
    elif Path(source).exists():
        try:
            with Path(source).open("rb") as stream:
                rows = _parse(stream, str(source))
        except (OSError, EOFError) as error:  # among them a gzip file that is damaged or cut off
            raise DataError(f"{source} cannot be read: {error}") from error
    elif _hub_id.fullmatch(str(source)) and not Path(source).suffix and not Path(source).parent.exists():
        rows = _from_hub(str(source))
    else:
        raise DataError(f"there is no file {source}; expected a JSON Lines or Parquet file, or - for standard input")
    if not rows.values:
        raise DataError(f"{rows.name} is empty; expected at least one row")
    return rows


def _parse(stream: io.BufferedReader, name: str) -> Rows:
    magic = stream.peek(4)
    if magic.startswith(b"PAR1"):
        return _from_parquet(stream.read(), name)
    if magic.startswith(b"\x1f\x8b"):
        with gzip.open(stream) as plain:
            return _from_lines(plain, name)
    return _from_lines(stream, name)


def _from_lines(lines: Iterable[bytes], name: str) -> Rows:
    values: list[dict[str, Any]] = []
    numbers: list[int] = []
    for number, raw in enumerate(lines, start=1):
        try:
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise DataError(
                f"{name} line {number} is not UTF-8 (byte 0x{raw[error.start]:02x} at position {error.start}); "
                "convert the file to UTF-8"
            ) from error
        if not text.strip():
            continue
        try:
            value = json.loads(text)
        except json.JSONDecodeError as error:
            raise DataError(f"{name} line {number} is not valid JSON: {error.msg} at column {error.colno}") from error
        except (ValueError, RecursionError) as error:  # a number too long, or a nesting too deep, for Python
            raise DataError(f"{name} line {number} cannot be read as JSON: {error}") from error
        if not isinstance(value, dict):
            raise DataError(
                f"{name} line {number} must be a JSON object, got {type(value).__name__}; write one object a line"
            )
        values.append(value)
        numbers.append(number)
    return Rows(name, values, numbers, unit="line")


def _from_parquet(data: bytes, name: str) -> Rows:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        values = pq.read_table(io.BytesIO(data)).to_pylist()
    except pa.ArrowException as error:
        raise DataError(f"{name} is a damaged Parquet file: {error}") from error
    return Rows(name, values, list(range(1, len(values) + 1)))


def _from_hub(source: str) -> Rows:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError(
            f"there is no file {source}; to read it as a hub dataset: pip install 'embrm[hub]'"
        ) from error
    name, _, split = source.partition(":")
    try:
        values = datasets.load_dataset(name, split=split or "train").to_list()
    except (OSError, ValueError) as error:
        raise DataError(f"{source} is neither a file nor a hub dataset that can be loaded: {error}") from error
    return Rows(source, values, list(range(1, len(values) + 1)))


def check_writable(path: str | Path, *, folder: bool = False) -> Path:
    """Return `path` after making sure, before any work, that a file (or a folder) can be written there.

    Raises:
        OptionError: it cannot; the message says why.
    """
    if str(path) == "-":
        raise OptionError("standard output cannot hold what is to be written; give a name instead of -")
    path = Path(path).resolve()  # what a link points to is written, and the link stays
    if path.exists() and not path.is_file() and not path.is_dir():
        raise OptionError(f"cannot write {path}: it is a device, which cannot be replaced by a file")
    if path.is_dir() and not folder:
        raise OptionError(f"cannot write {path}: it is a folder; give the name of a file")
    if path.exists() and not path.is_dir() and folder:
        raise OptionError(f"cannot write {path}: it is a file, and a folder is to be written; give another name")
    if folder and path.is_dir() and any(path.iterdir()) and not (path / "config.json").exists():
        raise OptionError(
            f"cannot write {path}: it holds files that embrm did not write; give the name of a new folder"
        )
    try:
        # os.access knows nothing of read-only mounts or quotas; only writing tells.
        with tempfile.TemporaryFile(dir=_ancestor(path)):
            pass
    except OSError as error:
        raise OptionError(f"cannot write {path}: {error.strerror or error}; choose another place") from error
    return path


def check_output(path: str | Path) -> None:
    """Do as `check_writable`, but let `"-"`, standard output, pass."""
    if str(path) != "-":
        check_writable(path)


def _ancestor(path: Path) -> Path:
    parent = path.absolute().parent
    while not parent.exists() and parent != parent.parent:
        parent = parent.parent
    return parent


@contextmanager
def write_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to write a file to, which becomes `path` when the block ends without an exception.

    What stood at `path` stays whole until then, and an interrupt leaves nothing behind.

    Raises:
        OptionError: nothing can be written there.
    """
    path = check_writable(path)
    with _room_beside(path) as room:
        yield room / path.name
        (room / path.name).replace(path)


@contextmanager
def write_folder(folder: str | Path) -> Iterator[Path]:
    """Give a temporary folder to fill, which becomes `folder` when the block ends without an exception.

    Raises:
        OptionError: nothing can be written there.
    """
    folder = check_writable(folder, folder=True)
    with _room_beside(folder) as room:
        part = room / "new"
        part.mkdir()
        yield part
        if folder.exists():  # no single rename replaces a folder that holds files, so the old one steps aside
            folder.rename(room / "old")
        part.rename(folder)


@contextmanager
def _room_beside(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    room = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)


def write_bytes(path: str | Path, data: bytes) -> None:
    """Write a file atomically."""
    with write_file(path) as part:
        part.write_bytes(data)


def write_rows(target: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as JSON Lines: to a file (gzip where its name ends in .gz), atomically, or to `"-"`, standard output.

    Raises:
        OptionError: the file cannot be written.
    """
    if str(target) == "-":
        for row in rows:
            sys.stdout.write(_line(row))
        return
    with write_file(target) as part:
        packed = part.suffix == ".gz"
        with gzip.open(part, "wt", encoding="utf-8") if packed else part.open("w", encoding="utf-8") as out:
            out.writelines(_line(row) for row in rows)


def _line(row: Mapping[str, Any]) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fingerprint(value: Any) -> str:
    """Return the SHA-256 of a JSON-ready value; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
