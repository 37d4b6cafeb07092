"""Arrays as they are accepted: converted, checked, and refused with what was expected and what came."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from embrm.errors import DataError, OptionError

Array: TypeAlias = npt.NDArray[np.floating[Any]]
IntArray: TypeAlias = npt.NDArray[np.integer[Any]]
BoolArray: TypeAlias = npt.NDArray[np.bool_]


def as_matrix(x: npt.ArrayLike, *, name: str = "features") -> Array:
    """Return `x` as a finite float32 matrix `(n, d)`, without a copy where it is one already.

    Raises:
        DataError: `x` is not 2-D, has no columns, or holds NaN or infinity (the first such row is named).
    """
    x = np.asarray(x)
    if x.ndim == 1:
        raise DataError(f"{name} must be 2-D (n, d), got shape {x.shape}; pass x[None, :] for a single row")
    if x.ndim != 2 or x.shape[1] == 0:
        raise DataError(f"{name} must be 2-D (n, d) with d >= 1, got shape {x.shape}")
    x = np.ascontiguousarray(x, dtype=np.float32)
    # A row's sum is finite exactly when all its entries are: no boolean matrix of the size of x.
    bad = np.flatnonzero(~np.isfinite(np.add.reduce(x, axis=1, dtype=np.float64)))
    if bad.size:
        raise DataError(f"{name} must be finite: {bad.size} of {len(x)} rows hold NaN or infinity, first row {bad[0]}")
    return x


def read_npy(path: str | Path, *, of: str) -> npt.NDArray[Any]:
    """Read a .npy file.

    Args:
        path: the file.
        of: what it should hold, for messages.

    Raises:
        DataError: it is no such file; archives of arrays and files of PyTorch are told how to become one.
    """
    try:
        with Path(path).open("rb") as stream:
            magic = stream.read(6)
        if magic.startswith((b"PK", b"\x80")):
            raise DataError(
                f"{path} is an archive (.npz) or a file of PyTorch (.pt), no .npy file of {of}; save the one array: "
                "numpy.save('vectors.npy', numpy.load('vectors.npz')['NAME']), or tensor.numpy()"
            )
        return np.asarray(np.load(path, allow_pickle=False))
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} cannot be read as a .npy file of {of}: {error}") from error


def as_vector(x: npt.ArrayLike, name: str, length: int, dtype: npt.DTypeLike) -> npt.NDArray[Any]:
    """Return `x` as a finite vector `(length,)` of the given type, or raise DataError."""
    out = np.asarray(x)
    if out.shape != (length,):
        raise DataError(f"{name} must have shape ({length},), got {out.shape}")
    if np.issubdtype(dtype, np.integer) and not np.issubdtype(out.dtype, np.integer):
        raise DataError(f"{name} must be integers, got {out.dtype}")
    out = out.astype(dtype, copy=False)
    if np.issubdtype(dtype, np.floating) and not np.isfinite(out).all():
        raise DataError(f"{name} must be finite, but entry {int(np.flatnonzero(~np.isfinite(out))[0])} is not")
    return out


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
