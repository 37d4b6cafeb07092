"""Whether the study's intervals and verdicts keep their promises, on data whose truth is known.

    python benchmarks/coverage.py [TRIALS]

Every topic is asked in two wordings, which share most of what they have of their own; every seed shifts all prompts
alike; and each number has noise of its own. The truth is 0, or the effect that is stated.
"""

from __future__ import annotations

import sys
from collections import Counter
from itertools import product

import numpy as np

from embrm.core.arrays import Array, IntArray
from embrm.study.claims import Sample, difference
from embrm.study.claims.sample import resample

DRAWS = 500
TOPICS, SEEDS = (2, 5, 15, 50, 100), (2, 5, 10, 20, 40)  # 4 to 200 prompts
WORDINGS = 2
MARGIN = 0.35  # the smallest effect of interest


def main() -> None:
    """Print both tables."""
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print(f"Share of 95 % intervals that hold the truth, {trials} trials each\n")
    print("| topics × wordings |", " | ".join(f"{seeds} seeds" for seeds in SEEDS), "|")
    print("|---" * (len(SEEDS) + 1) + "|")
    found = {(t, s): covered(t, s, trials=trials) for t, s in product(TOPICS, SEEDS)}
    for topics in TOPICS:
        print(f"| {topics} × {WORDINGS} |", " | ".join(f"{found[topics, seeds]:.3f}" for seeds in SEEDS), "|")
    detectable = float(np.mean([sample(0.0, 40, 10, number).detectable for number in range(50)]))
    print(f"\nVerdicts with 40 topics and 10 seeds, smallest effect of interest {MARGIN}, 400 trials each\n")
    print("| true effect | supported | contradicted | negligible | inconclusive |")
    print("|---|---|---|---|---|")
    effects = {"0": 0.0, "just outside the margin": 1.01 * MARGIN, "twice the detectable": 2 * detectable}
    for name, effect in effects.items():
        counts = Counter(difference("", sample(effect, 40, 10, n), smallest=MARGIN).verdict for n in range(400))
        shares = (counts[v] / 400 for v in ("supported", "contradicted", "negligible", "inconclusive"))
        print(f"| {name} ({effect:.2f}) |", " | ".join(f"{share:.3f}" for share in shares), "|")


def covered(topics: int, seeds: int, *, trials: int) -> float:
    """Return the share of intervals that hold the truth."""
    found = (sample(0.0, topics, seeds, number).interval for number in range(trials))
    return sum(low <= 0 <= high for low, high in found) / trials


def sample(effect: float, topics: int, seeds: int, number: int) -> Sample:
    """Return one trial's sample."""
    rng = np.random.default_rng([topics, seeds, number])
    cluster: IntArray = np.repeat(np.arange(topics), WORDINGS)
    of_topic = np.repeat(rng.normal(size=(topics, 1)), WORDINGS, axis=0)
    of_seed, own = rng.normal(size=(1, seeds)), rng.normal(size=(WORDINGS * topics, seeds))
    values = effect + 0.7 * of_topic + 0.3 * of_seed + own
    return resample([values], _mean, draws=DRAWS, clusters=[cluster])


def _mean(means: list[Array]) -> Array:
    return means[0]


if __name__ == "__main__":
    main()
