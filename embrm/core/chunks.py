"""Work on many rows, chunk after chunk, on as many cores as the caller allows."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from embrm.core.machine import threads
from embrm.core.progress import tracked
from embrm.core.threads import one_thread

FEW = 4  # chunks a thread, below which another thread does not pay


def each_chunk(do: Callable[[slice], None], rows: int, *, size: int) -> None:
    """Do something with each chunk of at most `size` rows; several at once where there are many.

    Each chunk is computed on one thread, so that what comes out does not depend on how many there are. `do` must only
    write where no other chunk does.
    """
    chunks = [slice(start, min(start + size, rows)) for start in range(0, rows, size)]
    count = min(threads(), len(chunks) // FEW)
    if count < 2:
        for chunk in tracked(chunks, "chunks"):
            do(chunk)
        return
    with ThreadPoolExecutor(count) as pool:
        for _ in zip(tracked(chunks, "chunks"), pool.map(one_thread(do), chunks), strict=True):
            pass
