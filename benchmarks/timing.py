"""How the benchmarks compare: in turns, so that what else the machine does falls on all sides alike."""

from __future__ import annotations

import time
from collections.abc import Callable


def best(*sides: Callable[[], object], rounds: int) -> list[float]:
    """Return the shortest time in seconds of each side, timed in turns."""
    times: list[list[float]] = [[] for _ in sides]
    for _ in range(rounds):
        for kept, side in zip(times, sides, strict=True):
            start = time.perf_counter()
            side()
            kept.append(time.perf_counter() - start)
    return [min(kept) for kept in times]
