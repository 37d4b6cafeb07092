"""Matrices that stay in their files: rows are read, and become float32, when they are asked for."""

from __future__ import annotations

import mmap
import sys
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embrm.errors import DataError

BLOCK = 8192  # rows that are read at once where all are

Floats = npt.NDArray[np.floating[Any]]


class FileMatrix:
    """A matrix `(n, d)` in a file, of which no more is in memory than what was asked for.

    Runs of rows are read from the file. Rows in any order are gathered from a mapping of it, and before each gather the
    file must be as it was when the matrix was made, so that one that was cut off or written to meanwhile is an error.
    In another process the same file is opened anew.

    Attributes:
        path: the file.
        offset: bytes before the first number.
        shape: `(n, d)`.
        stored: type of the numbers in the file; `bfloat16` says that they are `uint16` with the bits of that.
        is_finite: whether somebody looked, and all numbers were finite.
    """

    ndim = 2
    dtype = np.dtype(np.float32)

    def __init__(
        self,
        path: str | Path,
        *,
        offset: int,
        shape: tuple[int, int],
        stored: npt.DTypeLike,
        bfloat16: bool = False,
        owner: Any = None,
    ) -> None:
        """Take a place in a file.

        Args:
            path: see the class.
            offset: see the class.
            shape: see the class.
            stored: see the class.
            bfloat16: see the class.
            owner: is kept as long as the matrix, such as what removes a temporary file.

        Raises:
            DataError: the file is not there, or too short.
        """
        self.path, self.offset, self.shape = Path(path).absolute(), offset, shape
        self.stored, self.bfloat16, self._owner = np.dtype(stored), bfloat16, owner
        self.is_finite = False
        self._before = self._state()
        end = offset + len(self) * self._row_bytes
        if self._before[0] < end:
            raise DataError(f"{path} is cut off: {len(self)} rows of {shape[1]} end at byte {end} of {self._before[0]}")

    @classmethod
    def of_memmap(cls, x: npt.NDArray[Any]) -> FileMatrix | None:
        """Return the rows of an array that `numpy.load(…, mmap_mode="r")` gave, or None where `x` is no such.

        An array that may be written to, of another type than floats, or whose rows do not follow each other is none.
        """
        if not (isinstance(x, np.memmap) and x.mode == "r" and x.ndim == 2 and x.size and x.flags.c_contiguous):
            return None
        # Only views of the mapping have the address of a part of it; `offset` is that of the array it was made for.
        mapping, name = getattr(x, "_mmap", None), getattr(x, "filename", None)
        if mapping is None or name is None or x.dtype.kind != "f" or x.dtype.itemsize > 8 or not x.dtype.isnative:
            return None
        start = np.frombuffer(mapping, dtype=np.uint8).ctypes.data
        before = x.offset - x.offset % mmap.ALLOCATIONGRANULARITY
        return cls(name, offset=before + x.ctypes.data - start, shape=x.shape, stored=x.dtype)

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Any) -> Floats:
        """Return rows as float32: a number, a slice, a mask `(n,)` or indices of any shape."""
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step == 1:
                return self._run(start, max(start, stop))
            rows = np.arange(start, stop, step)
        self._check()
        return self._floats(self._mapping[rows])

    def __array__(self, dtype: npt.DTypeLike | None = None, copy: bool | None = None) -> npt.NDArray[Any]:
        """Return all rows: what does not know how to read by rows gets an array."""
        out = np.empty(self.shape, dtype=self.dtype if dtype is None else dtype)
        for start in range(0, len(self), BLOCK):
            out[start : start + BLOCK] = self[start : start + BLOCK]
        return out

    def __getstate__(self) -> dict[str, Any]:
        """Return all but the mapping, and what keeps a temporary file."""
        return {name: value for name, value in vars(self).items() if name != "_mapping"} | {"_owner": None}

    @property
    def _row_bytes(self) -> int:
        return self.shape[1] * self.stored.itemsize

    @cached_property
    def _mapping(self) -> npt.NDArray[Any]:
        return np.memmap(self.path, dtype=self.stored, mode="r", offset=self.offset, shape=self.shape)

    def _run(self, start: int, stop: int) -> Floats:
        """Read what stands together: no page of a mapping is touched that the file may have lost."""
        self._check()
        count = (stop - start) * self.shape[1]
        raw = np.fromfile(self.path, self.stored, count, offset=self.offset + start * self._row_bytes)
        if len(raw) < count:
            raise self._changed()
        return self._floats(raw.reshape(-1, self.shape[1]))

    def _floats(self, raw: npt.NDArray[Any]) -> Floats:
        if self.bfloat16:
            return (raw.astype(np.uint32) << 16).view(np.float32)
        torch: Any = sys.modules.get("torch")
        if raw.dtype == np.float16 and raw.ndim == 2 and hasattr(torch, "from_numpy"):  # three times as fast
            return np.asarray(torch.from_numpy(np.require(raw, requirements=["C", "W"])).float().numpy())
        return np.asarray(raw).astype(np.float32)

    def _state(self) -> tuple[int, int, int]:
        try:
            found = self.path.stat()
        except OSError as error:
            raise DataError(f"{self.path} cannot be read: {error}") from error
        return found.st_size, found.st_mtime_ns, found.st_ino

    def _check(self) -> None:
        if self._state() != self._before:
            raise self._changed()

    def _changed(self) -> DataError:
        return DataError(f"{self.path} has changed since it was opened; leave vectors alone while they are in use")
