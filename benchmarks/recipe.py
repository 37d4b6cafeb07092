"""The best recipe for a real pool, chosen on validation prompts alone, beside tuned `linear` on prompts held out.

    python benchmarks/recipe.py FOLDER    # FOLDER holds an AlpacaEval candidate pool, see benchmarks/README.md

Every recipe is tuned with one budget on validation prompts of the 300 training prompts, on a draw of 4 000 pairs of
its own; the one of least validation NLL is the best. It and tuned `linear` are then fitted to five draws of 4 000 pairs
(25 % flipped) of the training prompts, and measured on the 100 held out: the accuracy of 40 pairs a prompt, the gold of
the best of all responses (the judge's probability that it beats the pool's fixed baseline), and how often it beats a
random response of its pool. Differences are paired over prompts and seeds, intervals 95 % bootstraps over both.
"""

from __future__ import annotations

import argparse
import os
import resource
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from heads import alpacaeval, interval, sample_pairs, shown  # the benchmark beside this one

from embrm import Candidates, Pairs, bestofn
from embrm.core.arrays import Array, IntArray
from embrm.heads import Head, get
from embrm.training.tuning import Trial, tune

PAIRS, FLIPS, TRAINING = 4000, 0.25, 300
COMPOSITE = "joint+response+length"
CHOOSING = 1_000  # the seed of the draw that recipes are chosen on, which no fit has


def recipes() -> dict[str, Head]:
    """Return what is tuned; the first is what the others must beat."""
    out: dict[str, Head] = {"linear": get("linear")()}
    for view in ("joint+length", COMPOSITE):
        out[f"linear, {view}"] = get("linear")(view=view)
    for name in ("inform", "mlp"):
        for view in ("joint", "joint+length", COMPOSITE):
            out[f"{name} × 5, {view}"] = get(name)(members=5, view=view)
    return out


@dataclass(frozen=True, eq=False)
class Measured:
    """What one seed gave: `(prompts,)` accuracy, gold of the best of all, and its wins against a random response."""

    hits: Array
    gold: Array
    wins: Array


def held_out(folder: Path) -> tuple[Candidates, IntArray, Candidates]:
    """Return the whole pool, the prompts to train on, and the pools of the others; the same for every seed."""
    everything = alpacaeval(folder)
    order = np.random.default_rng(0).permutation(len(everything))
    return everything, order[:TRAINING], everything.take(np.sort(order[TRAINING:]))


def drawn(folder: Path, seed: int) -> Pairs:
    """Return 4 000 pairs of the training prompts, a quarter of the labels flipped."""
    everything, training, _ = held_out(folder)
    rng = np.random.default_rng([seed, 1])
    pairs = sample_pairs(everything, training, each=-(-PAIRS // TRAINING), flips=FLIPS, rng=rng)
    return pairs.take(rng.permutation(len(pairs))[:PAIRS])


def tuned(folder: Path, title: str, *, budget: int) -> Trial:
    """Return the best of a recipe's trials on validation prompts of the training prompts."""
    warnings.simplefilter("ignore")
    found = tune(recipes()[title], drawn(folder, CHOOSING), budget=budget, seed=CHOOSING)
    return min(found.trials, key=lambda trial: trial.nll)


def measure(folder: Path, recipe: Head, seed: int) -> Measured:
    """Fit a recipe to one draw of pairs and measure it on the prompts held out."""
    warnings.simplefilter("ignore")
    pools = held_out(folder)[2]
    assert pools.gold is not None
    test = sample_pairs(pools, np.arange(len(pools)), each=40, flips=0.0, rng=np.random.default_rng(1))
    reward = recipe.fit(drawn(folder, seed), seed=seed).score(pools.features).mean
    prompt = np.unique(test.prompt, return_inverse=True)[1]
    right = 0.5 + 0.5 * np.sign(reward[test.chosen] - reward[test.rejected])
    size = [int(np.diff(pools.offsets).min())]
    best = [
        bestofn.curve(reward, of, size, offsets=pools.offsets).gold_per_prompt[:, 0]
        for of in (pools.gold, bestofn.win_score(pools.gold, offsets=pools.offsets))
    ]
    return Measured(np.bincount(prompt, weights=right) / np.bincount(prompt), *best)


def line(title: str, found: Sequence[Measured], base: Sequence[Measured]) -> str:
    """Return a row of the table of held-out prompts: each measure, and its difference to the first recipe."""
    cells = [title]
    for name in ("hits", "gold", "wins"):
        values, first = ([getattr(m, name) for m in each] for each in (found, base))
        cells += [shown(interval(values)), shown(interval([a - b for a, b in zip(values, first, strict=True)]))]
    return f"| {' | '.join(cells)} |"


def main() -> None:
    """Print what was tried on validation prompts, and the best recipe beside `linear` on the prompts held out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="of an AlpacaEval candidate pool")
    parser.add_argument("--budget", type=int, default=4, help="recipes that are tried for each row")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--recipes", nargs="*", default=list(recipes()), help="only these; linear always comes first")
    asked = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of each worker
    titles = list(dict.fromkeys(["linear", *asked.recipes]))
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as workers:
        trials = dict(zip(titles, workers.map(partial(tuned, asked.folder, budget=asked.budget), titles), strict=True))
        print("| recipe | validation NLL | accuracy | what was changed |\n|---|---|---|---|")
        for title, trial in trials.items():
            print(f"| {title} | {trial.nll:.4f} | {trial.accuracy:.3f} | {dict(trial.options)} |", flush=True)
        best = min(trials, key=lambda title: trials[title].nll)
        print(f"\nThe best on validation prompts: {best}. On the {400 - TRAINING} prompts held out:\n")
        print("| recipe | accuracy | − linear | gold of the best | − linear | wins | − linear |")
        print("|---" * 7 + "|")
        base: list[Measured] = []
        for title in dict.fromkeys(["linear", best]):
            fit = partial(measure, asked.folder, trials[title].recipe)
            found = list(workers.map(fit, range(asked.seeds)))
            base = base or found
            print(line(title, found, base), flush=True)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    print(f"\n{asked.seeds} seeds, budget {asked.budget}: {sum(u.ru_utime + u.ru_stime for u in used):.0f} s of CPU.")


if __name__ == "__main__":
    main()
