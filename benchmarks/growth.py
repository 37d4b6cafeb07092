"""How cost grows with each size that a user chooses: processor time at two sizes or more, and the exponent between.

    python benchmarks/growth.py [--full]

Each row varies one size with the others fixed; the exponent is the slope of log time over log size through all points
but those below 20 ms, where calls and not work are measured. Without `--full` sizes stop at a tenth, for a run of about
a minute. Exponents up to 1.1 are linear growth; the column beside says why where one is larger.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from embrm import Pairs, bestofn, detectors, embedders, heads

WIDTH, LEAST = 384, 0.02
rng = np.random.default_rng(0)


class Growth(NamedTuple):
    """A size, what is done at it, the sizes (the last only with `--full`), and why it may grow faster than linearly."""

    name: str
    work: Callable[[int], Callable[[], object]]
    sizes: Sequence[int]
    why: str = ""


def pairs_of(n: int) -> Pairs:
    """Return `n` pairs with something to learn, four texts a prompt."""
    x = rng.standard_normal((2 * n, WIDTH), dtype=np.float32)
    even = np.arange(0, 2 * n, 2)
    wins = x[even, :8].sum(axis=1) + 2 * rng.normal(size=n) > x[even + 1, :8].sum(axis=1)
    prompt = np.arange(2 * n) // 4
    return Pairs.from_arrays(x, chosen=even + ~wins, rejected=even + wins, prompt=prompt)


def fitted(name: str, pairs: int, **options: object) -> Callable[[], object]:
    """Return a fit of a head on so many pairs."""
    data, head = pairs_of(pairs), heads.get(name)(**options)
    return lambda: head.fit(data, seed=0)


def curve(prompts: int, responses: int) -> Callable[[], object]:
    """Return an exact curve of all sizes."""
    proxy, gold = rng.normal(size=(2, prompts, responses))
    return lambda: bestofn.curve(proxy, gold)


def checked(latents: int) -> Callable[[], object]:
    """Return a detector's fit and check in a space of so many dimensions."""
    x, y = rng.normal(size=(2, 2000, latents))
    recipe = detectors.get("mahalanobis")()
    return lambda: recipe.fit(x, seed=0).check(y)


def embedded(name: str, tokens: int) -> Callable[[], object]:
    """Return the embedding of 32 new texts of so many words, past the cache."""
    embedder = embedders.get(name)()
    texts = [" ".join(f"w{i % 97}" for i in range(k, k + tokens)) for k in range(32)]
    return lambda: embedder.fleeting.embed(texts)


ROWS = (
    Growth("pairs, `linear`", lambda n: fitted("linear", n), (1_000, 10_000, 100_000)),
    Growth("pairs, `laplace`", lambda n: fitted("laplace", n), (1_000, 10_000, 100_000)),
    Growth("pairs, `inform`, one epoch", lambda n: fitted("inform", n, epochs=1), (1_000, 10_000, 100_000)),
    Growth(
        "members, `inform`, one epoch of 1 000 pairs",
        lambda k: fitted("inform", 1_000, epochs=1, members=k),
        (1, 5, 20, 200),
    ),
    Growth("responses a prompt, exact curve of 400", lambda n: curve(400, n), (16, 256, 1_024, 4_096)),
    Growth("prompts, exact curve of 32 responses", lambda n: curve(n, 32), (100, 1_000, 10_000, 100_000)),
    Growth(
        "latents, `inform`, one epoch of 2 000 pairs",
        lambda k: fitted("inform", 2_000, epochs=1, latent_dim=k),
        (8, 64, 512),
        "the decoder is k × k",
    ),
    Growth("latents, `mahalanobis`, 2 000 texts", checked, (8, 64, 512), "a covariance is k × k"),
    Growth("words a text, `static`, 32 texts", lambda n: embedded("static", n), (100, 1_000, 10_000)),
)


def seconds(work: Callable[[], object]) -> float:
    """Return the processor time of a piece of work, the better of two where it is short."""
    times: list[float] = []
    while len(times) < 2 and sum(times) < 1:
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def exponent(sizes: Sequence[int], times: Sequence[float]) -> float:
    """Return the slope of log time over log size, NaN where fewer than two times are long enough."""
    long = [(n, t) for n, t in zip(sizes, times, strict=True) if t >= LEAST]
    if len(long) < 2:
        return float("nan")
    x, y = np.log(np.array(long)).T
    return float(np.polyfit(x, y, 1)[0])


def main(full: bool) -> None:
    """Print the table."""
    fitted("inform", 300, epochs=1)()  # what is loaded and measured once is not counted
    curve(4, 4)(), checked(4)(), embedded("static", 4)(), fitted("laplace", 300)()
    print("| what grows | sizes | s of CPU | exponent | why above 1.1 |")
    print("|---|---|---|--:|---|")
    for row in ROWS:
        sizes = row.sizes if full else row.sizes[:-1]
        times = [seconds(row.work(size)) for size in sizes]
        shown = " | ".join([", ".join(map(str, sizes)), ", ".join(f"{t:.3g}" for t in times)])
        print(f"| {row.name} | {shown} | {exponent(sizes, times):.2f} | {row.why} |", flush=True)


if __name__ == "__main__":
    main("--full" in sys.argv)
