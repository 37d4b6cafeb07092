"""Batches of sequences: of like length, halved where memory runs out, spread over the devices."""

from __future__ import annotations

import queue
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import Any, TypeVar

import numpy as np

from embrm.core.threads import all_threads
from embrm.errors import OptionError

T = TypeVar("T")
R = TypeVar("R")
W = TypeVar("W")


class MemoryWarning(UserWarning):
    """Memory ran out with a batch, and the work went on with smaller ones."""


def by_length(lengths: Sequence[int], *, size: int) -> list[list[int]]:
    """Return indices in batches of at most `size`, of like length, the longest first: memory runs out at once."""
    order = np.argsort(-np.asarray(lengths), kind="stable").tolist()
    return [order[i : i + size] for i in range(0, len(order), size)]


class Fitting:
    """Runs batches on one device and halves those that do not fit, once and for all that are as large.

    Args:
        device: where it works, for messages.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.most = 1 << 62  # tokens at once, fillers included

    @all_threads
    def run(self, work: Callable[[list[T]], Sequence[R]], batch: Sequence[T], *, lengths: Sequence[int]) -> list[R]:
        """Return what `work` gives for each item of the batch, which takes up so many tokens an item.

        Warns:
            MemoryWarning: memory ran out.

        Raises:
            OptionError: a single item does not fit.
        """
        longest = max(lengths)
        fits = max(1, min(self.most // longest, len(batch)))
        out: list[R] = []
        while len(out) < len(batch):
            part = list(batch[len(out) : len(out) + fits])
            done = self._attempt(work, part)
            if done is not None:
                out += done
                continue
            if len(part) == 1:
                raise OptionError(
                    f"out of memory on {self.device} with a single text of {longest} tokens; make texts shorter "
                    "(max_length, max_new_tokens), or use precision 'bfloat16' or a smaller model"
                )
            fits = len(part) // 2
            self.most = fits * longest
            warnings.warn(
                f"out of memory on {self.device} with {len(part)} × {longest} tokens; goes on with {fits} at once",
                MemoryWarning,
                stacklevel=2,
            )
        return out

    def _attempt(self, work: Callable[[list[T]], Sequence[R]], part: list[T]) -> Sequence[R] | None:
        """Return None where memory ran out; by then the exception, which holds on to tensors, is gone."""
        try:
            return work(part)
        except (RuntimeError, MemoryError) as error:
            if not _out_of_memory(error):
                raise
        import torch

        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        return None


def _out_of_memory(error: Exception) -> bool:
    import torch

    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    words = str(error).lower()  # the processor's and Apple's allocators have no class of their own
    return "allocate memory" in words or "out of memory" in words


def spread(work: Callable[[W, T], R], batches: Sequence[T], *, workers: Sequence[W]) -> Iterator[tuple[T, R]]:
    """Yield each batch with what a worker (a copy of the model on a device of its own) made of it, as they finish.

    Several workers have a thread each: while a GPU computes, its thread holds no lock.
    """
    if len(workers) == 1:
        for batch in batches:
            yield batch, work(workers[0], batch)
        return
    free: queue.Queue[W] = queue.Queue()
    for worker in workers:
        free.put(worker)

    def borrowed(batch: T) -> R:
        worker = free.get()
        try:
            return work(worker, batch)
        finally:
            free.put(worker)

    with ThreadPoolExecutor(len(workers)) as pool:
        running: dict[Any, T] = {pool.submit(borrowed, batch): batch for batch in batches}
        try:
            for done in as_completed(running):
                yield running[done], done.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
