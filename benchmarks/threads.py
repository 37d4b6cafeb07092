"""What a busy neighbour costs: every entry point on idle cores and beside a process that takes one, limited and not.

    python benchmarks/threads.py [--limited] [ROUNDS, 3 unless given] [WORD of the rows wanted…]

Limited: BLAS, OpenMP and torch have one thread, as the library sets it (`embrm.core.threads`). Not: they have what they
take by themselves, one for each core, and wait by spinning. The four sides of a row take turns, and the best round of
each counts; the neighbour is a pure busy loop, pinned nowhere, that lives only while its side is timed. With
`--limited` the sides that are not, which may take minutes, are left out, and processor time is counted, which other
work changes less: what waits by spinning has more of it, and what does not takes that long wherever it has a core.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count

for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_WAIT_POLICY"):
    os.environ.pop(name, None)  # before any library reads them

import numpy as np  # noqa: E402

from embrm import bestofn, detectors, embedders, heads  # noqa: E402
from embrm.core.data import Pairs  # noqa: E402
from embrm.core.threads import OneThread, strictly_one_thread  # noqa: E402

LONGEST = 60.0  # a side that once took so many seconds is not timed again


@contextmanager
def neighbour(there: bool) -> Iterator[None]:
    """Let another process take a core inside the block."""
    if not there:
        yield
        return
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.2)
        yield
    finally:
        busy.kill()
        busy.wait()


@contextmanager
def as_limited(limited: bool) -> Iterator[None]:
    """Let the library limit its threads inside the block, or leave them as they are."""
    enter, leave = OneThread.__enter__, OneThread.__exit__
    try:
        if not limited:
            OneThread.__enter__ = lambda self: None  # type: ignore[method-assign]
            OneThread.__exit__ = lambda self, *error: None  # type: ignore[method-assign]
        yield
    finally:
        OneThread.__enter__, OneThread.__exit__ = enter, leave  # type: ignore[method-assign]


def pairs_of(n: int) -> Pairs:
    """Return random pairs of vectors of 384 columns, `n` texts, with something to learn."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 384)).astype(np.float32)
    better = x[0::2, :8].sum(axis=1) + rng.normal(size=n // 2) > x[1::2, :8].sum(axis=1)
    even, odd = np.arange(0, n, 2), np.arange(1, n, 2)
    chosen, rejected = np.where(better, even, odd), np.where(better, odd, even)
    return Pairs.from_arrays(x, chosen=chosen, rejected=rejected, prompt=np.arange(n) // 2)


def entry_points() -> dict[str, Callable[[], object]]:
    """Return what is timed, by its name in the table."""
    few, many = pairs_of(2_000), pairs_of(8_000)
    inform = heads.get("inform")(members=5)
    model = inform.fit(few, seed=0)
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(20_000, 384)).astype(np.float32)
    proxy, gold = rng.normal(size=(2, 2_000, 500))
    reference, outputs = rng.normal(size=(2, 4_000, 64))
    csi = detectors.get("csi")().fit(reference)
    work: dict[str, Callable[[], object]] = {
        "`score` of 20 000 rows, `inform`, 5 members": partial(model.score, rows),
        "`latent` of 20 000 rows": partial(model.latent, rows),
        "`curve`, 2 000 × 500, sizes 1 to 256 in doublings": partial(
            bestofn.curve, proxy, gold, sizes=[2**i for i in range(9)]
        ),
        "`csi`, check of 4 000 × 64": partial(csi.check, outputs),
    }
    for name in ("laplace", "linear", "mlp", "bnrm"):
        work[f"fit of `{name}`, 4 000 pairs"] = partial(heads.get(name)().fit, many, seed=0)
    work["four fits of `inform`, 5 members, 1 000 pairs"] = lambda: [inform.fit(few, seed=seed) for seed in range(4)]
    texts = [" ".join(f"w{(7 * k + i) % 97}" for i in range(60)) for k in range(4096)]
    minilm, static = (embedders.get(name)().fleeting for name in ("minilm", "static"))
    work["`embed` of 4 096 texts, `static`"] = partial(static.embed, texts)
    numbers = count()

    def embed_new() -> object:
        return minilm.embed([f"{next(numbers)} {text}" for text in texts[:64]])  # others come from the cache

    work["`embed` of 64 texts, `minilm`, its threads"] = embed_new
    work["`embed` of 64 texts, `minilm`, one thread"] = strictly_one_thread(embed_new)
    return work


def seconds(work: Callable[[], object], *, limited: bool, busy: bool, clock: Callable[[], float]) -> float:
    """Return how long a piece of work takes."""
    with as_limited(limited), neighbour(busy):
        start = clock()
        work()
        return clock() - start


def main(rounds: int = 3, *words: str, limited_alone: bool = False) -> None:
    """Print the table."""
    unit = "seconds of processor time" if limited_alone else "seconds"
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the start; {unit}, best of {rounds}\n")
    sides = [(limited, busy) for limited in ((True,) if limited_alone else (False, True)) for busy in (False, True)]
    names = [f"{'beside' if busy else 'idle'}, {'limited' if limited else 'all threads'}" for limited, busy in sides]
    print("| what |", " | ".join([*names, "beside, limited / idle", *([] if limited_alone else ["saved"])]), "|")
    print("|---|" + "--:|" * (len(sides) + (1 if limited_alone else 2)))
    clock = time.process_time if limited_alone else time.perf_counter
    wanted = {n: work for n, work in entry_points().items() if not words or any(word in n for word in words)}
    for name, work in wanted.items():
        work()
        times: dict[tuple[bool, bool], list[float]] = {side: [] for side in sides}
        for _ in range(rounds):
            for limited, busy in sides:
                if max(times[limited, busy], default=0) < LONGEST:
                    times[limited, busy].append(seconds(work, limited=limited, busy=busy, clock=clock))
        best = {side: min(found) for side, found in times.items()}
        beside, idle = best[True, True], min(t for (_, busy), t in best.items() if not busy)
        cells = [f"{t:.3g}" for t in best.values()] + [f"{beside / idle:.2f} ×"]
        cells += [] if limited_alone else [f"{best[False, True] / beside:.1f} ×"]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    typed = [word for word in sys.argv[1:] if word != "--limited"]
    main(int(typed[0]) if typed else 3, *typed[1:], limited_alone="--limited" in sys.argv)
