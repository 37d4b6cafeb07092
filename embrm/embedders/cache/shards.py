"""Shards: files of cached vectors that appear whole, are never changed, and know when they are damaged.

A shard is three little-endian integers (a magic number, rows `n`, dimension `d`), the vectors `(n, d)` float32, and a
table of (key, checksum, cut). The checksum of a row covers its key, its flag and its vector.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embrm.core.arrays import Array, BoolArray

MAGIC = int.from_bytes(b"embrm001", "little")
INDEX = np.dtype([("key", "V16"), ("crc", "<u4"), ("cut", "?")])
HEADER = 24  # bytes
LARGEST = 4 << 30  # bytes; merged shards stay far below


@dataclass(frozen=True, eq=False)
class ShardRows:
    """Keys of `n` texts, their vectors `(n, d)` float32, and whether each text was cut `(n,)`."""

    keys: Sequence[bytes]
    vectors: Array
    cut: BoolArray

    def take(self, index: Sequence[int]) -> ShardRows:
        """Return the given rows."""
        return ShardRows([self.keys[i] for i in index], self.vectors[list(index)], self.cut[list(index)])


def concatenate(parts: Sequence[ShardRows]) -> ShardRows:
    """Join rows of one dimension; no parts are no rows, of dimension 0."""
    if not parts:
        return ShardRows([], np.empty((0, 0), dtype=np.float32), np.empty(0, dtype=bool))
    return ShardRows(
        [key for part in parts for key in part.keys],
        np.concatenate([part.vectors for part in parts]),
        np.concatenate([part.cut for part in parts]),
    )


def write_whole(path: Path, *content: bytes | memoryview) -> None:
    """Write a file that appears whole or not at all; raises OSError."""
    for again in (True, True, False):
        try:
            _write(path, content)
            return
        except (FileNotFoundError, FileExistsError):  # the folder was pruned meanwhile, or between two looks of `mkdir`
            if not again:
                raise


def _write(path: Path, content: Sequence[bytes | memoryview]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{secrets.token_hex(8)}.part")
    try:
        with part.open("wb") as f:
            f.writelines(content)
        part.replace(path)
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def write_shard(folder: Path, rows: ShardRows) -> None:
    """Write rows as one new shard in the folder; raises OSError."""
    vectors = np.ascontiguousarray(rows.vectors, dtype="<f4")
    index = np.empty(len(rows.keys), dtype=INDEX)
    for i, (key, cut) in enumerate(zip(rows.keys, rows.cut.tolist(), strict=True)):
        index[i] = key, _checksum(key, cut, vectors[i]), cut
    header = np.array([MAGIC, *vectors.shape], dtype="<u8")
    write_whole(folder / f"{secrets.token_hex(8)}.shard", header.tobytes(), vectors.data, index.tobytes())


def count_rows(path: Path) -> int:
    """Return the number of rows that a shard claims; 0 where it is gone or no shard."""
    try:
        if not _may_be_one(path.stat()):
            return 0
        with path.open("rb") as f:
            header = np.fromfile(f, dtype="<u8", count=3)
    except OSError:
        return 0
    return int(header[1]) if len(header) == 3 and header[0] == MAGIC else 0


def read_shard(path: Path, wanted: set[bytes] | None) -> tuple[ShardRows, bool]:
    """Return the wanted rows (None: all) that are undamaged, and whether nothing damaged was met; raises OSError.

    A shard that is gone, because another process merged it, is empty and sound.
    """
    try:
        about = path.stat()
        if not _may_be_one(about):
            return concatenate([]), False
        size = about.st_size
        with path.open("rb") as f:
            header = np.fromfile(f, dtype="<u8", count=3).tolist()
            if len(header) < 3 or header[0] != MAGIC or size != HEADER + header[1] * (4 * header[2] + INDEX.itemsize):
                return concatenate([]), False
            _, n, d = header
            f.seek(HEADER + 4 * n * d)
            index = np.fromfile(f, dtype=INDEX, count=n)
            keys = index["key"].tolist()
            picked = [i for i, key in enumerate(keys) if wanted is None or key in wanted]
            if not picked:
                return concatenate([]), True
            vectors = np.memmap(f, dtype="<f4", mode="r", offset=HEADER, shape=(n, d))[picked]
    except FileNotFoundError:
        return concatenate([]), True
    rows = ShardRows([keys[i] for i in picked], np.asarray(vectors, dtype=np.float32), index["cut"][picked])
    sums = index["crc"][picked].tolist()
    cuts = rows.cut.tolist()
    good = [i for i, key in enumerate(rows.keys) if _checksum(key, cuts[i], rows.vectors[i]) == sums[i]]
    if len(good) == len(picked):
        return rows, True
    return (rows.take(good) if good else concatenate([])), False


def _may_be_one(about: os.stat_result) -> bool:
    """Say whether to open what lies in a shard's place: a pipe would be waited for, a vast sparse file fills memory."""
    return (stat.S_ISREG(about.st_mode) and about.st_size <= LARGEST) or stat.S_ISDIR(about.st_mode)


def _checksum(key: bytes, cut: bool, vector: Array) -> int:
    return zlib.crc32(vector.data, zlib.crc32(key + bytes([cut])))
