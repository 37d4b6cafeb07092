"""What computes here: the processor and how many of its cores this process may use."""

from __future__ import annotations

import os
import platform
from pathlib import Path


def processor() -> str:
    """Return the processor's name, or its architecture where the platform tells no more."""
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as f:
            names = [line.partition(":")[2].strip() for line in f if line.startswith("model name")]
    except OSError:
        names = []
    return (names or [platform.processor() or platform.machine()])[0]


def cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):  # not everywhere
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def threads() -> int:
    """Return how many threads this process may have at work: one a core, or as few as `OMP_NUM_THREADS` says.

    Those that start processes set it, so that these do not share the cores with threads of each other.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return min(cores(), max(1, int(asked))) if asked.isdigit() else cores()
