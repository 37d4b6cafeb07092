"""Packed bytes → bytes, within bounds: a small file may hold a very large one."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from typing import Any, BinaryIO

from embrm.core.bounds import BYTES, LINE, RATIO, unpacked_bound
from embrm.errors import DataError

CHUNK = 1 << 20  # bytes unpacked at once
PACKED = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz", b"\x28\xb5\x2f\xfd": "zstd"}


def unpacked(data: bytes, name: str) -> bytes:
    """Return what gzip, bzip2, xz or zstd packed, or the data themselves.

    Args:
        data: the bytes, packed or not.
        name: what messages call them.

    Raises:
        DataError: they are damaged, or become more bytes, or a longer line of JSON, than is read.
    """
    kind = kind_of(data)
    if kind is None:
        return data
    most, parts, size, length = unpacked_bound(len(data)), list[bytes](), 0, 0
    try:
        with unpacking(io.BytesIO(data), kind) as stream:
            while part := bytes(stream.read(CHUNK)):
                parts.append(part)
                size += len(part)
                end = max(part.rfind(b"\n"), part.rfind(b"\r"))
                length = length + len(part) if end < 0 else len(part) - end - 1
                if parts[0].lstrip()[:1] == b"{":  # an array of rows may stand in one line
                    LINE.check(length, f"{name}, unpacked,")
                if size > most:
                    (BYTES if most == BYTES.value else RATIO).refuse(f"{name}, unpacked,")
    except DataError:
        raise
    except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error) as error:
        raise DataError(f"{name} cannot be read: {error}; the {kind} file is damaged or cut off") from error
    return b"".join(parts)


def kind_of(start: bytes) -> str | None:
    """Return how a file that starts so is packed, None where it is not."""
    return next((kind for magic, kind in PACKED.items() if start.startswith(magic)), None)


def unpacking(stream: BinaryIO, kind: str) -> Any:
    """Return a stream of what a packed stream holds; its errors are those of the libraries."""
    if kind == "zstd":
        import pyarrow as pa

        return io.BufferedReader(pa.CompressedInputStream(pa.PythonFile(stream, "r"), "zstd"))
    if kind == "gzip":
        return gzip.GzipFile(fileobj=stream)
    return bz2.BZ2File(stream) if kind == "bzip2" else lzma.LZMAFile(stream)
