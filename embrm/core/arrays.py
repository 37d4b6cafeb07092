"""Arrays as they are accepted: converted, checked, and refused with what was expected and what came."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np
import numpy.typing as npt

from embrm.core.bounds import BYTES, STREAM
from embrm.core.documents import open_file, translated
from embrm.core.mapped import BLOCK, FileMatrix
from embrm.errors import DataError, OptionError

Array: TypeAlias = npt.NDArray[np.floating[Any]]
IntArray: TypeAlias = npt.NDArray[np.integer[Any]]
BoolArray: TypeAlias = npt.NDArray[np.bool_]
NameArray: TypeAlias = npt.NDArray[np.str_]
Matrix: TypeAlias = Array | FileMatrix  # what rows can be taken of


def as_matrix(x: npt.ArrayLike, *, name: str = "features") -> Array:
    """Return `x` as a finite float32 matrix `(n, d)`, without a copy where it is one already.

    Raises:
        DataError: `x` is not 2-D, has no columns, is not of numbers, or holds NaN or infinity, or what is infinite as
            float32 (the first such row is named).
    """
    x = _as_array(x, name)
    if x.ndim == 1:
        raise DataError(f"{name} must be 2-D (n, d), got shape {x.shape}; pass x[None, :] for a single row")
    if x.ndim != 2 or x.shape[1] == 0:
        raise DataError(f"{name} must be 2-D (n, d) with d >= 1, got shape {x.shape}")
    with np.errstate(over="ignore"):  # it is told below
        x = np.ascontiguousarray(x, dtype=np.float32)
    _check_finite(_not_finite(x), len(x), name)
    return x


def as_rows(x: npt.ArrayLike, *, name: str = "features") -> Matrix:
    """Return what rows `(n, d)` can be taken of: a file's matrix as it is, which `numpy.load(…, mmap_mode="r")` gives
    too, and else `as_matrix(x)`.

    Raises:
        DataError: see `as_matrix`.
    """
    mapped = x if isinstance(x, FileMatrix) else FileMatrix.of_memmap(x) if isinstance(x, np.ndarray) else None
    if mapped is None:
        return as_matrix(x, name=name)
    if mapped.shape[1] == 0:
        raise DataError(f"{name} must be 2-D (n, d) with d >= 1, got shape {mapped.shape}")
    if not mapped.is_finite:
        starts = range(0, len(mapped), BLOCK)
        bad = [start + _not_finite(mapped[start : start + BLOCK]) for start in starts]
        _check_finite(np.concatenate(bad), len(mapped), name)
        mapped.is_finite = True
    return mapped


def _not_finite(x: Array) -> IntArray:
    """Return the rows that hold NaN or infinity: their sums do, and no boolean matrix of the size of x is made."""
    return np.flatnonzero(~np.isfinite(np.add.reduce(x, axis=1, dtype=np.float64)))


def _check_finite(bad: IntArray, rows: int, name: str) -> None:
    if bad.size:
        raise DataError(f"{name} must be finite: {bad.size} of {rows} rows hold NaN or infinity, first row {bad[0]}")


def read_npy(path: str | Path, *, of: str, mapped: bool = False) -> npt.NDArray[Any]:
    """Read a .npy file of numbers.

    Args:
        path: the file.
        of: what it should hold, for messages.
        mapped: whether it may stay in the file, as `numpy.load(…, mmap_mode="r")` has it.

    Raises:
        DataError: it is no such file, holds no plain numbers, or fewer of them than it says; archives of arrays and
            files of PyTorch are told how to become one.
    """
    with open_file(path, most=STREAM if mapped else BYTES) as stream:
        magic = stream.read(6)
        if magic.startswith((b"PK", b"\x80")):
            raise DataError(
                f"{path} is an archive (.npz) or a file of PyTorch (.pt), no .npy file of {of}; save the one array: "
                "numpy.save('vectors.npy', numpy.load('vectors.npz')['NAME']), or tensor.numpy()"
            )
        stream.seek(0)
        why = f"cannot be read as a .npy file of {of}"
        return translated(lambda: _numbers_of(stream, path if mapped else None), name=str(path), why=why)


def _numbers_of(stream: BinaryIO, mapped: str | Path | None) -> npt.NDArray[Any]:
    """Return the array of a .npy file, its header compared with the file's size before memory is taken."""
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):  # a later one is for names of fields
        raise DataError(f"its format is {version}, which plain numbers never need")
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, fortran, dtype = header(stream)
    if dtype.kind not in "fiub" or dtype.subdtype is not None:
        raise DataError(f"it holds {str(dtype)[:60]}, and no plain numbers")
    wanted = math.prod(shape) * dtype.itemsize
    there = os.fstat(stream.fileno()).st_size - stream.tell()
    if min(shape, default=0) < 0 or wanted > there:
        raise DataError(f"its header tells of shape {shape}, for which it is {wanted - there} bytes too short")
    if mapped is not None and wanted and not fortran:
        return np.memmap(mapped, dtype, "r", stream.tell(), shape)
    stream.seek(0)
    return np.asarray(np.load(stream, allow_pickle=False))


def as_vector(x: npt.ArrayLike, name: str, length: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return `x` as a finite vector `(length,)` of the given type, or raise DataError."""
    out = _as_array(x, name)
    if out.shape != (length,):
        raise DataError(f"{name} must have shape ({length},), got {out.shape}")
    if np.issubdtype(dtype, np.integer) and not np.issubdtype(out.dtype, np.integer):
        raise DataError(f"{name} must be integers, got {out.dtype}")
    out = out.astype(dtype, copy=False)
    if np.issubdtype(dtype, np.floating) and not np.isfinite(out).all():
        raise DataError(f"{name} must be finite, but entry {int(np.flatnonzero(~np.isfinite(out))[0])} is not")
    return out


def as_names(x: npt.ArrayLike, name: str, length: int) -> NameArray:
    """Return `x` as texts `(length,)`, whole numbers written out, or raise DataError."""
    out = np.asarray(x, dtype=object)
    if out.shape != (length,):
        raise DataError(f"{name} must have shape ({length},), got {out.shape}")
    for i, value in enumerate(out):
        if isinstance(value, bool | np.bool_) or not isinstance(value, str | int | np.integer):
            raise DataError(f"{name} must be texts or whole numbers, but entry {i} is {value!r}; '' stands for unknown")
    return out.astype(np.str_)


def _as_array(x: npt.ArrayLike, name: str) -> npt.NDArray[Any]:
    """Return `x` as an array of numbers, or raise DataError."""
    try:
        out = np.asarray(x)
        plain = out if out.dtype.kind in "fiub" else out.astype(np.float64)
    except (TypeError, ValueError, OverflowError) as error:  # texts, lists of several lengths, numbers without end
        raise DataError(f"{name} must be an array of numbers: {error}") from error
    if np.iscomplexobj(out):
        raise DataError(f"{name} must be an array of real numbers, got {out.dtype}")
    return plain


def check_offsets(offsets: npt.ArrayLike | None, rows: int) -> IntArray:
    """Return pool boundaries `(pools + 1,)` as integers; None means one pool of all rows.

    Raises:
        DataError: they do not run from 0 to `rows`, or a pool is empty.
    """
    out = np.asarray([0, rows] if offsets is None else offsets)
    if out.ndim != 1 or len(out) < 2 or not np.issubdtype(out.dtype, np.integer):
        raise DataError(f"offsets must be a 1-D integer array (pools + 1,), got {out.dtype} of shape {out.shape}")
    if out[0] != 0 or out[-1] != rows:
        raise DataError(f"offsets must run from 0 to the {rows} rows, got {out[0]}..{out[-1]}")
    empty = np.flatnonzero(np.diff(out) <= 0)
    if empty.size:
        raise DataError(f"{empty.size} pools are empty, first pool {empty[0]}; remove prompts without responses")
    return out.astype(np.int64, copy=False)


def positive(name: str, value: npt.ArrayLike, *, zero: bool = False) -> Array:
    """Return `value` as a vector of finite numbers above 0 (or at least 0), or raise OptionError."""
    x = np.atleast_1d(np.asarray(value, dtype=np.float64))
    if x.ndim != 1 or x.size == 0 or not np.isfinite(x).all() or not ((x >= 0) if zero else (x > 0)).all():
        raise OptionError(f"{name} must be {'>= 0' if zero else '> 0'} and finite, got {value!r}")
    return x


def step_vector(x: npt.ArrayLike) -> Array:
    """Return a trajectory as a finite vector with one number a step, or raise DataError."""
    out = np.asarray(x)
    if out.ndim != 1 or len(out) == 0:
        raise DataError(f"a trajectory must be a vector with one number a step, got shape {out.shape}")
    return as_vector(out, "trajectory", len(out), np.float64)


def components(m: int, chosen: IntArray, rejected: IntArray) -> IntArray:
    """Return which of the connected parts of the graph of pairs each of `m` rows belongs to, `(m,)`."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    inside = (chosen >= 0) & (chosen < m) & (rejected >= 0) & (rejected < m)  # Pairs reports the others
    edges = coo_array((np.ones(inside.sum()), (chosen[inside], rejected[inside])), shape=(m, m))
    return np.asarray(connected_components(edges, directed=False)[1], dtype=np.int64)
