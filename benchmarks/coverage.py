"""Whether the study's intervals and verdicts keep their promises, on data whose truth is known.

    python benchmarks/coverage.py [TRIALS]

Every topic is asked in two wordings, which share most of what they have of their own; every seed shifts all prompts
alike; and each number has noise of its own. The truth is 0, or the effect that is stated. The first table is of the
intervals of claims, over topics and seeds, the second of those over topics alone, of `embrm evaluate`, `curve` and
`compare`, beside the plain percentiles that they are made from.
"""

from __future__ import annotations

import sys
from collections import Counter
from itertools import product

import numpy as np
from scipy.stats import norm

from embrm.core.arrays import Array, IntArray
from embrm.metrics.intervals import bootstrap, resampled_means
from embrm.study.claims import Sample, difference
from embrm.study.claims.sample import resample

DRAWS = 500
TOPICS, SEEDS = (2, 5, 15, 50, 100), (2, 5, 10, 20, 40)  # 4 to 200 prompts
WORDINGS = 2
MARGIN = 0.35  # the smallest effect of interest
RIGHT, SPREAD, EACH = 0.5, 0.3, 20  # pairs a prompt, each right with probability Φ(RIGHT + SPREAD · its prompt's own)


def main() -> None:
    """Print the three tables."""
    trials = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    print(f"Share of 95 % intervals that hold the truth, {trials} trials each\n")
    print("| topics × wordings |", " | ".join(f"{seeds} seeds" for seeds in SEEDS), "|")
    print("|---" * (len(SEEDS) + 1) + "|")
    found = {(t, s): covered(t, s, trials=trials) for t, s in product(TOPICS, SEEDS)}
    for topics in TOPICS:
        print(f"| {topics} × {WORDINGS} |", " | ".join(f"{found[topics, seeds]:.3f}" for seeds in SEEDS), "|")
    print("\n| topics × wordings | a mean | percentiles | an accuracy | percentiles |\n|---|---|---|---|---|")
    for topics in TOPICS:
        of_topics = (f"{share:.3f}" for share in over_topics(topics, trials=trials))
        print(f"| {topics} × {WORDINGS} |", " | ".join(of_topics), "|")
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


def over_topics(topics: int, *, trials: int) -> Array:
    """Return how often intervals over topics hold the truth: of a mean and of an accuracy, each beside percentiles."""
    found = np.zeros(4)
    for number in range(trials):
        rng = np.random.default_rng([topics, number])
        cluster: IntArray = np.repeat(np.arange(topics), WORDINGS)
        own = np.repeat(rng.normal(size=topics), WORDINGS) + rng.normal(size=WORDINGS * topics)
        right = rng.binomial(EACH, norm.cdf(RIGHT + SPREAD * own))
        truths = (0.0, float(norm.cdf(RIGHT / np.sqrt(1 + 2 * SPREAD**2))))
        for k, (values, truth) in enumerate(zip((own, right / EACH), truths, strict=True)):
            interval = bootstrap(values, seed=number, draws=DRAWS, cluster=cluster)
            means = resampled_means(values, seed=number, draws=DRAWS, cluster=cluster)
            ends = np.quantile(means, [0.025, 0.975], method="nearest")
            found[2 * k : 2 * k + 2] += [interval.low <= truth <= interval.high, ends[0] <= truth <= ends[1]]
    return found / trials


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
