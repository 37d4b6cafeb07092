"""The embedding cache: vectors on disk, addressed by the content of the text and the identity of the embedder.

Each identity has a folder of shards (see `_shards`). No lock is needed: two processes write different files, a killed
one loses only what it had not yet written, and a network file system is as good as a local one.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import secrets
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from embrm.core.bounds import DOCUMENT
from embrm.core.documents import read_bytes, read_json
from embrm.embedders.cache.shards import ShardRows, concatenate, count_rows, read_shard, write_shard, write_whole
from embrm.errors import CacheError, DataError, OptionError

FLUSH_SECONDS = 5.0  # a killed process loses at most about this much work
FLUSH_ROWS = 4096
SMALL_SHARDS = 64  # more shards than this with fewer than FLUSH_ROWS rows are merged into one
TRIES = 5  # of a folder's removal
STALE_SECONDS = 3600.0  # an unfinished file of this age belongs to a process that was killed


def cache_folder() -> Path:
    """Return `$EMBRM_CACHE`, or `embrm` in the platform's folder for caches of the user."""
    if own := os.environ.get("EMBRM_CACHE"):
        return Path(own).expanduser()
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "embrm"


def text_key(text: bytes) -> bytes:
    """Return the 16-byte content address of a text."""
    return hashlib.blake2b(text, digest_size=16).digest()


@contextlib.contextmanager
def _explained(doing: str) -> Iterator[None]:
    try:
        yield
    except OSError as e:
        raise CacheError(
            f"cannot {doing} the embedding cache {cache_folder()} ({e.strerror or e}); "
            f"make room or rights there, or set EMBRM_CACHE to another folder"
        ) from e


def _bytes(name: str) -> bytes:
    """Return a name in UTF-8; the path of a model may hold bytes that are none."""
    return name.encode("utf-8", "surrogatepass")


def _fact(question: str) -> Path:
    return cache_folder() / "facts" / f"{text_key(_bytes(question)).hex()}.json"


def remember(question: str, answer: str) -> None:
    """Keep a fact that is dear to find out, such as the digest of a model's files.

    Raises:
        CacheError: the cache cannot be written.
    """
    with _explained("write"):
        write_whole(_fact(question), json.dumps({"question": question, "answer": answer, "sum": _sum(answer)}).encode())


def recall(question: str) -> str | None:
    """Return what was remembered, or None where nothing was or it cannot be read."""
    try:
        fact = read_json(_fact(question))
    except DataError:
        return None
    known = isinstance(fact, dict) and fact.get("question") == question and isinstance(fact.get("answer"), str)
    return fact["answer"] if known and fact.get("sum") == _sum(fact["answer"]) else None


def _sum(answer: str) -> str:
    return text_key(_bytes(answer)).hex()


class VectorStore:
    """The cached vectors of one embedder.

    Args:
        identity: all that the vectors depend on beside the text.
    """

    def __init__(self, identity: str) -> None:
        self.identity = identity
        self.folder = cache_folder() / "vectors" / text_key(_bytes(identity)).hex()

    def read(self, keys: Sequence[bytes]) -> ShardRows:
        """Return those of the rows that are there undamaged; a damaged shard is replaced, with a warning.

        Raises:
            CacheError: the cache cannot be read.
        """
        wanted, damaged, parts = set(keys), list[Path](), list[ShardRows]()
        with _explained("read"):
            for shard in self._shards():
                rows, sound = read_shard(shard, wanted)
                if not sound:
                    damaged.append(shard)
                if rows.keys:
                    wanted.difference_update(rows.keys)
                    parts.append(rows)
        if damaged:
            warnings.warn(
                f"{len(damaged)} files of the embedding cache are damaged; what they lost is computed again",
                stacklevel=3,
            )
            self._merge(damaged)
        with contextlib.suppress(OSError):  # a cache that can only be read serves all the same
            os.utime(self.folder / "identity.txt")
        return concatenate(parts)

    @contextlib.contextmanager
    def writer(self) -> Iterator[Callable[[ShardRows], None]]:
        """Collect rows, and write them every few seconds and also when the work is interrupted.

        Where the disk fills up meanwhile a warning says so, and the work goes on without being kept.

        Raises:
            CacheError: the cache cannot be written; known before any work is done.
        """
        self._claim()
        buffer, last, kept = list[ShardRows](), time.monotonic(), True

        def flush() -> None:
            nonlocal kept
            try:
                if buffer and kept:
                    self._claim()
                    with _explained("write"):
                        write_shard(self.folder, concatenate(buffer))
            except CacheError as error:
                kept = False
                warnings.warn(f"{error}; what is computed now is not kept", stacklevel=3)
            buffer.clear()

        def add(rows: ShardRows) -> None:
            nonlocal last
            buffer.append(rows)
            if time.monotonic() - last > FLUSH_SECONDS or sum(len(r.keys) for r in buffer) >= FLUSH_ROWS:
                flush()
                last = time.monotonic()

        try:
            yield add
        finally:
            flush()
        small = [path for path in self._shards() if count_rows(path) < FLUSH_ROWS]
        if kept and len(small) > SMALL_SHARDS:
            self._merge(small)

    def _shards(self) -> list[Path]:
        try:
            return sorted(self.folder.glob("*.shard"))
        except FileNotFoundError:  # pruned by another process since the listing began
            return []

    def _claim(self) -> None:
        """Say whose folder this is (again, should it have been pruned meanwhile)."""
        with _explained("write"):
            write_whole(self.folder / "identity.txt", _bytes(self.identity))

    def _merge(self, shards: Sequence[Path]) -> None:
        """Replace shards by one with their sound rows, each text once; others may read and merge meanwhile.

        Where that cannot be written, a warning says so and the shards stay: nobody needs to lose a run for it.
        """
        try:
            with _explained("write"):
                every = concatenate([rows for rows, _ in (read_shard(path, None) for path in shards) if rows.keys])
                first = {key: i for i, key in enumerate(every.keys)}
                if first:
                    write_shard(self.folder, every.take(list(first.values())))
                for path in shards:
                    path.unlink(missing_ok=True)
        except CacheError as error:
            warnings.warn(f"{error}; its files stay as they are", stacklevel=4)


@dataclass(frozen=True)
class CachedSpace:
    """What the cache holds of one embedder: its identity, rows, bytes on disk, and days since it was last used."""

    identity: str
    rows: int
    bytes: int
    idle_days: float


@dataclass(frozen=True)
class CacheInfo:
    """What the cache holds, most recently used first."""

    folder: Path
    spaces: tuple[CachedSpace, ...]

    @property
    def rows(self) -> int:
        """Vectors in all spaces."""
        return sum(space.rows for space in self.spaces)

    @property
    def bytes(self) -> int:
        """Bytes on disk of all spaces."""
        return sum(space.bytes for space in self.spaces)


def _identity(note: Path) -> str:
    try:
        return read_bytes(note, most=DOCUMENT).decode("utf-8", errors="replace")
    except DataError:
        return "unreadable"


def _spaces() -> list[tuple[Path, CachedSpace]]:
    out = []
    for note in (cache_folder() / "vectors").glob("[!.]*/identity.txt"):
        shards = list(note.parent.glob("*.shard"))
        with contextlib.suppress(FileNotFoundError):  # merged or pruned meanwhile
            space = CachedSpace(
                identity=_identity(note),
                rows=sum(count_rows(path) for path in shards),
                bytes=sum(path.stat().st_size for path in shards),
                idle_days=max(0.0, time.time() - note.stat().st_mtime) / 86_400,
            )
            out.append((note.parent, space))
    return sorted(out, key=lambda item: item[1].idle_days)


def info() -> CacheInfo:
    """Return what the cache holds; an absent cache is an empty one.

    Raises:
        CacheError: the cache cannot be read.
    """
    with _explained("read"):
        return CacheInfo(cache_folder(), tuple(space for _, space in _spaces()))


def _remove(folder: Path) -> None:
    """Remove a folder that was moved aside; a writer that was opening a file when it moved may still put it there."""
    for left in reversed(range(TRIES)):
        try:
            shutil.rmtree(folder)
            return
        except OSError as error:
            if error.errno != errno.ENOTEMPTY or not left:
                raise


def prune(*, idle_days: float = 0.0) -> CacheInfo:
    """Remove the spaces not used for at least `idle_days` days (0: all), and what killed processes left behind.

    Returns:
        What was removed.

    Raises:
        CacheError: the cache cannot be changed.
        OptionError: `idle_days` is negative.
    """
    if not idle_days >= 0:
        raise OptionError(f"idle_days must be at least 0, got {idle_days}")
    with _explained("change"):
        gone = [(path, space) for path, space in _spaces() if space.idle_days >= idle_days]
        for path, _ in gone:
            # Aside first, in one move: a process that writes there meanwhile makes the folder anew.
            aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
            with contextlib.suppress(FileNotFoundError):  # another process prunes too
                path.rename(aside)
                _remove(aside)
        for part in cache_folder().glob("**/.*.part"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - part.stat().st_mtime > STALE_SECONDS:
                    part.unlink(missing_ok=True)
        return CacheInfo(cache_folder(), tuple(space for _, space in gone))
