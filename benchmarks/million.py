"""A million pairs of vectors in a file: processor time and resident memory of fits and scores, and how they grow.

    python benchmarks/million.py [PAIRS, 1 000 000 by default] [HEAD…, of those below]

The vectors, 384 columns in float16, lie in a .npy file that is made for the run (1.5 GB); each head is fitted in a
process of its own, on a tenth of the pairs and on all of them. The target is 3 GiB of resident memory, the pages of the
file that are mapped included, and an exponent of growth of at most 1.1. `inform` trains one epoch, so that its time is
not that of when it stops. The bound is one pass of bare products: the Hessian of all differences.
"""

from __future__ import annotations

import json
import math
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from embrm import Features, Pairs, heads
from embrm.core.threads import one_thread
from embrm.core.vectors import open_vectors

WIDTH, BLOCK = 384, 20_000
HEADS: dict[str, dict[str, Any]] = {"linear": {}, "laplace": {}, "inform": {"members": 5, "epochs": 1}}


def write(file: Path, texts: int) -> None:
    """Write the vectors, block after block: correlated columns of several sizes, as embeddings have them."""
    rng = np.random.default_rng(0)
    mix = np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0] * np.linspace(1, 0.1, WIDTH)
    with file.open("wb") as out:  # not through a mapping: a process inherits the peak of the one that starts it
        header = {"descr": "<f2", "fortran_order": False, "shape": (texts, WIDTH)}
        np.lib.format.write_array_header_1_0(out, header)
        for start in range(0, texts, BLOCK):
            block = rng.standard_normal((min(BLOCK, texts - start), WIDTH), dtype=np.float32)
            (block @ mix.astype(np.float32)).astype("<f2").tofile(out)


def measure(file: str, pairs: int, name: str) -> dict[str, float]:
    """Fit and score in this process, and return processor time of both, peak memory, accuracy, and the bound."""
    x = open_vectors(file)
    assert len(x) >= 2 * pairs
    rng = np.random.default_rng(1)
    weight = rng.standard_normal(WIDTH).astype(np.float32) / 4
    rows = [slice(start, min(start + BLOCK, 2 * pairs)) for start in range(0, 2 * pairs, BLOCK)]
    reward = np.concatenate([x[part] @ weight for part in rows])
    a = rng.permutation(pairs) * 2
    wins = reward[a] - reward[a + 1] + rng.logistic(size=pairs) > 0
    chosen, rejected = np.where(wins, a, a + 1), np.where(wins, a + 1, a)
    mapped = np.load(file, mmap_mode="r")[: 2 * pairs]
    head = heads.get(name)(**HEADS[name])  # what it imports is not counted
    times = [time.process_time()]
    data = Pairs(Features({"joint": mapped}, prompt=np.arange(2 * pairs) // 4), chosen, rejected)
    model = head.fit(data, seed=0)
    times.append(time.process_time())
    mean = model.score(data.features).mean
    times.append(time.process_time())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    part = x[:8192]
    with one_thread:
        part.T @ part
        start = time.process_time()
        part.T @ part
        bound = (time.process_time() - start) * pairs / len(part)
    fit, score = np.diff(times).tolist()
    accuracy = float(np.mean(mean[chosen] > mean[rejected]))
    return {"fit": fit, "score": score, "gib": peak / 1024**3, "accuracy": accuracy, "bound": bound}


def elsewhere(file: Path, pairs: int, name: str) -> dict[str, float]:
    """Measure in a process of its own, whose peak is that of this work alone."""
    words = [sys.executable, __file__, "--one", str(file), str(pairs), name]
    found: dict[str, float] = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    return found


def main(pairs: int = 1_000_000, names: tuple[str, ...] = tuple(HEADS)) -> None:
    """Print the table."""
    print("| head | pairs | fit, s of CPU | × one Hessian | score, s of CPU | peak, GiB | accuracy | exponent |")
    print("|---|--:|--:|--:|--:|--:|--:|--:|")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "vectors.npy"
        write(file, 2 * pairs)
        for name in names:
            before = None
            for size in (pairs // 10, pairs):
                found = elsewhere(file, size, name)
                grown = "" if before is None else f"{math.log10(found['fit'] / before):.2f}"
                cells = [f"{found['fit']:.1f}", f"{found['fit'] / found['bound']:.1f}", f"{found['score']:.1f}"]
                cells += [f"{found['gib']:.2f}", f"{found['accuracy']:.3f}", grown]
                print(f"| `{name}` | {size} | {' | '.join(cells)} |", flush=True)
                before = found["fit"]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(sys.argv[2], int(sys.argv[3]), sys.argv[4])))
    else:
        main(int(sys.argv[1]) if sys.argv[1:] else 1_000_000, tuple(sys.argv[2:]) or tuple(HEADS))
