"""Training and validation pairs of one problem: split by prompt, with a warning where texts stand on both sides."""

from __future__ import annotations

import warnings

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import Array, IntArray, Matrix
from embrm.core.data import Pairs, Problem
from embrm.core.traces import StepPairs
from embrm.errors import DataError
from embrm.heads.gradient.rows import RowSource


def hold_out(problem: Problem, *, fraction: float, view: str) -> tuple[Pairs, Pairs | None]:
    """Return training and validation pairs of other prompts, or no validation where there is but one prompt.

    Warns where the same text (the same vector) stands on both sides: its validation loss is not held out.
    """
    train, validation = problem.pairs, problem.validation
    if validation is None:
        if len(np.unique(train.prompt)) < 2:
            warnings.warn(
                "all pairs belong to one prompt: none can be held out, so nothing is stopped early or tuned",
                stacklevel=4,
            )
            return train, None
        train, validation = train.split(fraction, seed=problem.seed)
    shared = _shared_texts(train, validation, view)
    if shared:
        warnings.warn(
            f"{shared} texts stand in both the training and the validation pairs; the validation loss is too good "
            "for them. Remove duplicates, or give equal texts the same prompt",
            stacklevel=4,
        )
    return train, validation


def _shared_texts(train: Pairs, validation: Pairs, view: str) -> int:
    x, y = RowSource.of(train.features, view), RowSource.of(validation.features, view)
    return int(np.isin(_hashes(y, validation.rows), _hashes(x, train.rows)).sum())


def _hashes(x: RowSource, rows: IntArray, *, chunk: int = 8192) -> npt.NDArray[np.uint64]:
    """Return a hash of each row's bytes: the vectors themselves would be a second copy."""
    odd = np.random.default_rng(0).integers(1 << 63, size=x.shape[1], dtype=np.uint64) * 2 + 1
    starts = range(0, len(rows), chunk)
    return np.concatenate([x[rows[s : s + chunk]].view(np.uint32).astype(np.uint64) @ odd for s in starts])


def targets(pairs: Pairs) -> tuple[Array, Array, Array]:
    """Return `(weight, target, margin)`, each `(n,)`: weights of mean 1, target 0.5 for ties and else 1.

    Of `StepPairs` target and margin are the labels of the two texts, -1 where there is none.
    """
    n = len(pairs)
    if isinstance(pairs, StepPairs):
        first, second = np.nan_to_num(pairs.labels, nan=-1.0).T
        return np.ones(n), first, second
    weight = np.ones(n) if pairs.weight is None else pairs.weight / pairs.weight.mean()
    target, margin = np.ones(n), np.zeros(n) if pairs.margin is None else pairs.margin
    if pairs.tie is not None:
        target = np.where(pairs.tie, 0.5, target)
        margin = np.where(pairs.tie, 0.0, margin)
    return weight, target, margin


def moments(x: Matrix | RowSource, rows: IntArray, *, chunk: int = 8192) -> tuple[Array, Array]:
    """Return mean and standard deviation `(d,)` of the given rows in float64; constant columns get sd 1."""
    total = np.zeros(x.shape[1])
    square = np.zeros(x.shape[1])
    shift = x[rows[0]].astype(np.float64)  # differences to one row: no cancellation where |mean| >> sd
    for start in range(0, len(rows), chunk):
        part = x[rows[start : start + chunk]] - shift
        total += part.sum(axis=0)
        square += np.einsum("nd,nd->d", part, part)
    mean = total / len(rows)
    variance = np.maximum(square / len(rows) - mean**2, 0.0)
    # A column counts as constant when it varies by no more than float32 rounding of its size.
    constant = variance <= (1e-6 * (np.abs(shift) + np.abs(mean))) ** 2
    return shift + mean, np.where(constant, 1.0, np.sqrt(variance))


def bootstrap_prompts(pairs: Pairs, rng: np.random.Generator) -> IntArray:
    """Return `n` pairs drawn by whole prompts with replacement (the last prompt cut to keep `n`), as indices.

    Raises:
        DataError: there is one prompt, so that every bootstrap is the same.
    """
    order = np.argsort(pairs.prompt, kind="stable")
    starts = np.flatnonzero(np.diff(pairs.prompt[order], prepend=pairs.prompt[order[0]] - 1))
    if len(starts) < 2:
        raise DataError(
            f"a bootstrap over prompts needs 2 prompts or more, and the {len(pairs)} pairs belong to one; "
            "add pairs of other prompts, or train without bootstraps"
        )
    groups = np.split(order, starts[1:])
    drawn: list[IntArray] = []
    size = 0
    while size < len(pairs):
        drawn.append(groups[rng.integers(len(groups))])
        size += len(drawn[-1])
    return np.concatenate(drawn)[: len(pairs)]
