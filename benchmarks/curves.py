"""Time and memory of exact best-of-n curves, and how both grow with the pool.

Run: python benchmarks/curves.py
"""

from __future__ import annotations

import resource
import time
from typing import get_args

import numpy as np

from embrm import bestofn


def seconds(prompts: int, pool: int, *, convention: bestofn.Convention, ties: bool = False, repeats: int = 9) -> float:
    """Return the median processor time of one curve over all n up to the pool's size."""
    rng = np.random.default_rng(0)
    proxy, gold = rng.normal(size=(2, prompts, pool))
    proxy = np.round(proxy, 1) if ties else proxy
    times = []
    for _ in range(repeats):
        start = time.process_time()
        bestofn.curve(proxy, gold, pool=convention)
        times.append(time.process_time() - start)
    return float(np.median(times))


def peak_gib(prompts: int, pool: int) -> float:
    """Return the highest memory so far of this process, imports included, after one curve of each convention."""
    for convention in get_args(bestofn.Convention):
        seconds(prompts, pool, convention=convention, ties=True, repeats=1)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main() -> None:
    """Print all figures."""
    memory = peak_gib(2000, 500)  # first, before anything else has raised it
    print(f"{'prompts x pool':>16} {'convention':>11} {'ties':>5} {'seconds':>8}")
    for prompts, pool in ((400, 57), (2000, 500)):
        for convention in get_args(bestofn.Convention):
            for ties in (False, True):
                t = seconds(prompts, pool, convention=convention, ties=ties)
                print(f"{prompts:>9} x {pool:<4} {convention:>11} {'yes' if ties else 'no':>5} {t:>8.3f}")
    print(f"peak memory at 2000 x 500, imports included: {memory:.2f} GiB")
    for what, sizes in (
        ("pool size", [(500, 125), (500, 250), (500, 500)]),
        ("prompts", [(500, 250), (1000, 250), (2000, 250)]),
    ):
        times = [seconds(*size, convention="population") for size in sizes]
        size = [pool if what == "pool size" else prompts for prompts, pool in sizes]
        exponent = np.polyfit(np.log(size), np.log(times), 1)[0]
        points = ", ".join(f"{n}: {t:.3f} s" for n, t in zip(size, times, strict=True))
        print(f"growth with {what} ({points}): exponent {exponent:.2f}")


if __name__ == "__main__":
    main()
