"""Peak memory of fitting and scoring 200 000 × 384 float32 features with 50 members; the target is 2.5 GiB.

python benchmarks/memory.py
"""

from __future__ import annotations

import resource
import sys

import numpy as np

from embrm import Features, Pairs, heads


def main() -> None:
    """Fit one epoch on 100 000 pairs, score all rows, and print the process's peak."""
    rng = np.random.default_rng(0)
    rows, width, members = 200_000, 384, 50
    x = rng.standard_normal((rows, width), dtype=np.float32)
    order = rng.permutation(rows // 2) * 2
    reward = x[:, :8].sum(axis=1)
    first = reward[order] > reward[order + 1]
    features = Features({"joint": x}, prompt=np.arange(rows) // 20)
    pairs = Pairs(features, np.where(first, order, order + 1), np.where(first, order + 1, order))
    model = heads.get("inform")(members=members, epochs=1).fit(pairs, seed=0)
    draws = model.score(features).draws
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1024) / 1024
    accuracy = np.mean(draws.mean(axis=0)[pairs.chosen] > draws.mean(axis=0)[pairs.rejected])
    print(f"{rows} × {width} features, {members} members: peak {peak:.2f} GiB, training accuracy {accuracy:.3f}")


if __name__ == "__main__":
    main()
