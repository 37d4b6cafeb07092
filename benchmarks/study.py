"""Twelve thousand head fits with scoring and exact curves: a tenth of them, timed.

    python benchmarks/study.py [SHARE]    # 0.1 unless given

Eight heads as they come, a third of the fits each on 500, 1 000 and 4 000 pairs of the shipped world,
every fit with its pair accuracy on three splits, calibration, exact best-of-n curves and the path of tilted policies on
all 208 prompts. The target is half an hour on two cores for all twelve thousand.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

from embrm.study.config import parse
from embrm.study.runner.run import run

FITS = 12_000
PAIRS = [500, 1000, 4000]
HEADS = ["linear", "mlp", "inform", "laplace", "dropout", "bnrm", "odin"]
CLASSIFY = {"name": "mlp", "title": "mlp classification", "options": {"loss": "classify"}, "tuned": False}


def main() -> None:
    """Run the share and print what it took."""
    share = float(sys.argv[1]) if len(sys.argv) > 1 else 0.1
    heads = [*({"name": name, "tuned": False} for name in HEADS), CLASSIFY]
    seeds = range(round(FITS * share / len(PAIRS) / len(heads)))
    config = parse(
        {
            "seeds": list(seeds),
            "datasets": [{"name": "world"}],
            "mechanisms": {"biased": {"bias": 1.0}},
            "flips": [0.25],
            "pairs": PAIRS,
            "heads": heads,
            "kl_points": 33,
        }
    )
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        results = run(config, Path(folder))
        wall = time.perf_counter() - begin
    fits = list(results.select(kind="fit"))
    fitting, measuring = (sum(row.seconds[part] for row in fits) for part in ("fit", "measure"))
    print(f"{len(fits)} fits in {wall:.0f} s, start-up included: {len(fits) / wall:.1f} fits a second")
    print(f"core-seconds: {fitting:.0f} to fit, {measuring:.0f} to measure")
    minutes = [seconds * FITS / len(fits) / 60 for seconds in (wall, (fitting + measuring) / 2)]
    print(f"{FITS} fits: {minutes[0]:.0f} minutes at this rate, {minutes[1]:.1f} by core-seconds on two cores")


if __name__ == "__main__":
    main()
