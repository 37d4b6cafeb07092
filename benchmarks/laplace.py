"""Time of the Bayesian last layer on 40 000 pairs × 384, beside the MAP alone by scikit-learn.

    python benchmarks/laplace.py

Targets on two cores: 3 s with the prior given, 6 s with its search by marginal likelihood.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from sklearn.linear_model import LogisticRegression

from embrm import Features, Pairs, heads

PAIRS, WIDTH, PROMPTS = 40_000, 384, 4_000


def problem() -> Pairs:
    """Return pairs with correlated, anisotropic features, as embeddings have them, and 25 % flipped labels."""
    rng = np.random.default_rng(0)
    spectrum = np.linspace(1, 0.1, WIDTH)
    x = (rng.standard_normal((8 * PROMPTS, WIDTH)) * spectrum) @ np.linalg.qr(rng.standard_normal((WIDTH, WIDTH)))[0]
    reward = x @ rng.standard_normal(WIDTH) / 3
    prompt = rng.integers(PROMPTS, size=PAIRS)
    i = rng.integers(8, size=PAIRS)
    a, b = 8 * prompt + i, 8 * prompt + (i + rng.integers(1, 8, size=PAIRS)) % 8
    wins = (rng.random(PAIRS) < 1 / (1 + np.exp(reward[b] - reward[a]))) ^ (rng.random(PAIRS) < 0.25)
    features = Features({"joint": x}, prompt=np.repeat(np.arange(PROMPTS), 8))
    return Pairs(features, np.where(wins, a, b), np.where(wins, b, a))


def timed(name: str, run: Callable[[], str]) -> None:
    """Run, and print the wall and CPU seconds with what the run says of itself."""
    wall, cpu = time.perf_counter(), time.process_time()
    said = run()
    print(f"{name:42s} {time.perf_counter() - wall:6.2f} s   {time.process_time() - cpu:6.2f} s of CPU   {said}")


def main() -> None:
    """Print a line for each."""
    pairs = problem()
    x = pairs.features.matrix("joint")
    d = x[pairs.chosen] - x[pairs.rejected]

    def fitted(precision: float | None) -> str:
        record = heads.get("laplace")(prior_precision=precision).fit(pairs, seed=0).record
        return f"λ = {record['prior_precision']:.1f} after {len(record['trials'])} values"

    def peer() -> str:
        both, label = np.concatenate([d, -d]), np.repeat([1, 0], len(d))
        model = LogisticRegression(C=1 / 100, fit_intercept=False).fit(both, label)
        return f"{int(model.n_iter_[0])} steps of L-BFGS, MAP only"

    timed("laplace, prior given", lambda: fitted(100.0))
    timed("laplace, prior by marginal likelihood", lambda: fitted(None))
    timed("scikit-learn's LogisticRegression", peer)


if __name__ == "__main__":
    main()
