"""Every row of benchmarks/README.md that this machine can measure by itself: one registry over the scripts.

    python benchmarks/bench.py [--quick] [NAME…]       # `just bench`, `just bench-quick`
    python benchmarks/bench.py --list

Each row runs a script of this folder in a process of its own and prints what it prints: figures beside a peer, a bound
or another size in the same run. The quick ones take about two minutes in all on two idle cores.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple


class Row(NamedTuple):
    """A script with its arguments, and what its figures are compared with."""

    words: str
    against: str
    quick: bool = False


ROWS = {
    "curves": Row("curves.py", "a target of 0.15 s, and the next smaller size", quick=True),
    "laplace": Row("laplace.py", "scikit-learn's MAP alone", quick=True),
    "growth-quick": Row("growth.py", "the next smaller size", quick=True),
    "million-quick": Row("million.py 20000", "one Hessian of the differences, and a tenth of the pairs", quick=True),
    "training": Row("training.py 1", "bare products, a siamese network, fits one by one"),
    "memory": Row("memory.py", "2.5 GiB"),
    "growth": Row("growth.py --full", "the next smaller size"),
    "million": Row("million.py", "3 GiB, one Hessian, a tenth of the pairs"),
    "embedding": Row("embedding.py", "MiniLM in float32, the cache"),
    "threads": Row("threads.py 1", "idle cores, and all threads"),
    "detectors": Row("detectors.py cost", "30 s"),
    "study": Row("study.py 0.01", "30 minutes for all"),
    "device": Row("device.py", "the CPU"),
    "causal_lm": Row("causal_lm.py 8", "bare products"),
    "rl": Row("rl.py", "20 s"),
}


def main(names: list[str], *, quick: bool) -> int:
    """Run the rows, and return how many scripts failed."""
    unknown = [name for name in names if name not in ROWS]
    if unknown:
        print(f"no row {', '.join(unknown)}; there are {', '.join(ROWS)}", file=sys.stderr)
        return len(unknown)
    failed = 0
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f} before the start")
    for name, row in ROWS.items():
        if name in names or (not names and (row.quick if quick else not name.endswith("-quick"))):
            script, *more = row.words.split()
            print(f"\n## {name}: {row.words}, against {row.against}\n", flush=True)
            begin, before = time.perf_counter(), _processor_time()
            code = subprocess.run([sys.executable, str(Path(__file__).parent / script), *more], check=False).returncode
            failed += code != 0
            took = f"{time.perf_counter() - begin:.0f} s, {_processor_time() - before:.0f} s of processor time"
            print(f"\n{took}{'' if code == 0 else f', FAILED with code {code}'}", flush=True)
    return failed


def _processor_time() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    typed = sys.argv[1:]
    if "--list" in typed:
        for name, row in ROWS.items():
            print(f"{name:14} {row.words:20} {'quick ' if row.quick else '      '} against {row.against}")
        sys.exit(0)
    sys.exit(main([name for name in typed if name != "--quick"], quick="--quick" in typed))
