"""Work on many rows, chunk after chunk, on as many cores as the caller allows."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from embrm.core.threads import one_thread

FEW = 4  # chunks a thread, below which another thread does not pay


def cores() -> int:
    """Return how many cores this process may use: those that it is given, or fewer where `OMP_NUM_THREADS` says so."""
    given = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(given, max(1, int(asked))) if asked.isdigit() else given


def each_chunk(do: Callable[[slice], None], rows: int, *, size: int) -> None:
    """Do something with each chunk of at most `size` rows; several at once where there are many.

    Each chunk is computed on one thread, so that what comes out does not depend on how many there are. `do` must only
    write where no other chunk does.
    """
    chunks = [slice(start, min(start + size, rows)) for start in range(0, rows, size)]
    threads = min(cores(), len(chunks) // FEW)
    if threads < 2:
        for chunk in chunks:
            do(chunk)
        return
    with ThreadPoolExecutor(threads) as pool:
        for _ in pool.map(one_thread(do), chunks):
            pass
