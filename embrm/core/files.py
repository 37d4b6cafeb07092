"""Rows in from any container, atomic writes out, content hashes."""

from __future__ import annotations

import dataclasses
import glob
import gzip
import hashlib
import json
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from embrm.core.bounds import REFUSED, ROWS
from embrm.core.containers import Refuse, parse
from embrm.core.documents import json_line, read_bytes, read_most
from embrm.core.parsed import Parsed
from embrm.core.sources import fetch, find_shards, from_disk, from_hub, is_hub_dataset, is_saved_dataset
from embrm.errors import DataError, OptionError

DAY = 86_400.0  # seconds


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of a file, or of several that belong together, and where each of them stood.

    Attributes:
        name: the file, as messages call it.
        values: one mapping a row.
        numbers: the number of each row's line, from 1.
        unit: what is counted, `"line"` or `"row"`.
        files: name of each row's file, where several were read; else empty.
        refused: what was wrong with the lines that are not among the rows, since nobody wanted to stop there.
        start: how many rows came before these, where a file is read in blocks.
    """

    name: str
    values: list[dict[str, Any]]
    numbers: list[int]
    unit: str = "row"
    files: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    start: int = 0

    def __len__(self) -> int:
        return len(self.values)

    def where(self, i: int) -> str:
        """Return the place of row `i`, counted from 0, for a message."""
        return f"{self.files[i] if self.files else self.name} {self.unit} {self.numbers[i]}"

    def label(self, i: int) -> str:
        """Return the id of row `i`: its own, or else its number, counted on through the files."""
        own = self.values[i].get("id")
        missing = own is None or own == "" or own != own  # NaN
        return (str(self.start + i + 1) if self.files else str(self.numbers[i])) if missing else str(own)

    def replace(self, values: list[dict[str, Any]], kept: Sequence[int]) -> Rows:
        """Return other values in place of the rows `kept`, one for each."""
        files = [self.files[i] for i in kept] if self.files else []
        return Rows(self.name, values, [self.numbers[i] for i in kept], self.unit, files, self.refused, self.start)


def read_rows(source: str | Path, *, stop: bool = True) -> Rows:
    """Read all rows of a file, or of several.

    What they are packed in is told from the content: JSON Lines, a JSON array or pretty-printed objects, CSV or TSV,
    Parquet or Arrow; plain, gzip, bzip2, xz or zstd. How much is read is bounded, see `embrm.core.bounds`.

    Args:
        source: a path; a folder or a pattern (`*.parquet`) of files of one kind; what `datasets.save_to_disk` wrote;
            `"-"` for standard input; an address that fsspec opens; or a hub dataset, `"owner/name"`,
            `"owner/name:split"` or `"owner/name:configuration/split"` (split `train` unless given).
        stop: whether a line that is no row raises; else it is kept in `refused` and the others are read.

    Raises:
        DataError: there is no such file, it is empty, no file but a pipe or device, or larger than a bound; or a line
            is not one JSON object in UTF-8 (its number is named).
        MissingExtraError: the source needs `datasets`, and that is not installed.
    """
    text, refused = str(source), list[str]()

    def refuse(error: DataError) -> None:
        if stop:
            raise error
        refused.append(str(error))
        REFUSED.check(len(refused), text)

    if text == "-":
        rows = _rows("standard input", parse(read_most(sys.stdin.buffer, "standard input"), "standard input", refuse))
    elif Path(text).is_dir() and is_saved_dataset(text):
        rows = _rows(text, from_disk(text))
    elif Path(text).is_dir() or (
        not Path(text).exists() and set("*?[") & set(text) and "://" not in text and not is_hub_dataset(text)
    ):
        rows = _joined(text, [_read_file(path, refuse) for path in find_shards(text)])
    elif Path(text).exists():
        rows = _read_file(Path(text), refuse)
    elif "://" in text:
        rows = _rows(text, parse(fetch(text), text, refuse))
    elif is_hub_dataset(text):
        rows = _rows(text, from_hub(text))
    else:
        raise DataError(
            f"there is no file {source}; expected a JSON Lines, CSV or Parquet file, or - for standard input"
        )
    if not rows.values and not refused:
        raise DataError(f"{rows.name} is empty; expected at least one row")
    return dataclasses.replace(rows, refused=refused)


def _rows(name: str, found: Parsed) -> Rows:
    return Rows(name, found.values, found.numbers, found.unit)


def _read_file(path: Path, refuse: Refuse) -> Rows:
    return _rows(str(path), parse(read_bytes(path), str(path), refuse))


def _joined(name: str, parts: Sequence[Rows]) -> Rows:
    columns = [sorted({column for value in part.values for column in value}) for part in parts]
    other = next((i for i, found in enumerate(columns) if found != columns[0]), 0)
    if other and Path(name).is_dir():
        raise DataError(
            f"{name} is a folder; expected files of the same columns in it, but {parts[0].name} has "
            f"{', '.join(columns[0])} and {parts[other].name} has {', '.join(columns[other])}; give one file, or a "
            "pattern of those that belong together"
        )
    if len({part.unit for part in parts}) > 1:
        raise DataError(f"{name} holds containers of several kinds; give a pattern for one of them")
    if len(parts) == 1:
        return parts[0]
    ROWS.check(sum(map(len, parts)), name)
    values = [value for part in parts for value in part.values]
    numbers = [number for part in parts for number in part.numbers]
    files = [part.name for part in parts for _ in part.values]
    return Rows(name, values, numbers, parts[0].unit, files)


def check_writable(path: str | Path, *, folder: bool = False, follow: bool = True) -> Path:
    """Return `path` after making sure, before any work, that a file (or a folder) can be written there.

    Args:
        path: the place.
        folder: whether it is to be a folder.
        follow: whether a link stays and what it points to is written, as for a name that somebody typed; else a link
            is replaced, as in a folder that others may write to, where it could point anywhere.

    Raises:
        OptionError: it cannot; the message says why.
    """
    if str(path) == "-":
        raise OptionError("standard output cannot hold what is to be written; give a name instead of -")
    path = Path(path)
    if not follow and path.is_symlink():
        return path.parent.resolve() / path.name
    path = path.resolve()
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
def write_file(path: str | Path, *, follow: bool = True) -> Iterator[Path]:
    """Give a temporary path to write a file to, which becomes `path` when the block ends without an exception.

    What stood at `path` stays whole until then, and an interrupt leaves nothing behind; for `follow` see
    `check_writable`.

    Raises:
        OptionError: nothing can be written there.
    """
    path = check_writable(path, follow=follow)
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
    for left in path.parent.glob(f".{glob.escape(path.name)}.*-*"):
        if _is_left(left, path):
            shutil.rmtree(left, ignore_errors=True)
    room = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=f"-{os.getpid()}", dir=path.parent))
    try:
        yield room
    finally:
        shutil.rmtree(room, ignore_errors=True)


def _is_left(room: Path, path: Path) -> bool:
    """Say whether a process that was killed while it wrote left this: it is gone, or it is a day since it wrote.

    Where it was killed between two renames, this holds all that there is, and is kept.
    """
    found = re.fullmatch(r"[a-z0-9_]{8}-(\d{1,10})", room.name.removeprefix(f".{path.name}."))
    if found is None or room.is_symlink() or not room.is_dir() or ((room / "old").exists() and not path.exists()):
        return False
    try:
        old = time.time() - room.stat().st_mtime > DAY
        os.kill(int(found[1]), 0) if os.name != "nt" else None
    except ProcessLookupError:
        return time.time() - room.stat().st_mtime > 60  # else another machine's process may be writing there now
    except OSError:
        return False
    return old


def write_bytes(path: str | Path, data: bytes, *, follow: bool = True) -> None:
    """Write a file atomically; for `follow` see `check_writable`."""
    with write_file(path, follow=follow) as part:
        part.write_bytes(data)


def write_rows(target: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as JSON Lines: to a file (gzip where its name ends in .gz), atomically, or to `"-"`, standard output.

    Raises:
        OptionError: the file cannot be written.
        DataError: a row holds what JSON has not, such as NaN.
    """
    if str(target) == "-":
        for row in rows:
            sys.stdout.write(json_line(row))
        return
    with write_file(target) as part:
        packed = part.suffix == ".gz"
        with gzip.open(part, "wt", encoding="utf-8") if packed else part.open("w", encoding="utf-8") as out:
            out.writelines(json_line(row) for row in rows)


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's content, in hexadecimal."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def fingerprint(value: Any) -> str:
    """Return the SHA-256 of a JSON-ready value; the order of keys does not matter."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()
