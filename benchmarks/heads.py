"""Every head on two data sets with equal tuning budgets: accuracy, NLL, ECE, win rate of best-of-n, seconds a member.

    python benchmarks/heads.py --pack FOLDER    # FOLDER holds an AlpacaEval candidate pool, see data/README.md
    python benchmarks/heads.py                  # the shipped world alone

Splits are by prompt, a quarter of the training labels is flipped, five seeds. Every head is tuned with the same budget
on validation prompts of each seed's own training set; its temperature comes from there too. Intervals are 95 %
bootstraps over test prompts and seeds; the difference to `linear` is paired. A head whose accuracy is below that of
`linear`, interval and all, is marked.
"""

from __future__ import annotations

import argparse
import gzip
import json
import time
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embrm import Candidates, Features, Pairs, bestofn, heads
from embrm.calibration import calibration, tempered
from embrm.heads import Head
from embrm.intervals import Interval, bootstrap
from embrm.tuning import tune
from embrm.types import Array, IntArray

PUBLISHED = "mlp as published"
RELEASED = {"hidden": (1024, 512), "weight_decay": 0.0, "epochs": 30, "patience": 0}


@dataclass(frozen=True, eq=False)
class Split:
    """One seed's training pairs, clean test pairs, and test pools with gold."""

    train: Pairs
    test: Pairs
    pools: Candidates
    seed: int


def alpacaeval(folder: Path, *, seeds: Sequence[int]) -> Iterator[Split]:
    """300 prompts to train on, 10 pairs each, 25 % flipped; 100 to test on; without the policy NullModel."""
    with gzip.open(folder / "candidates.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    keep = np.array([name != "NullModel" for name in rows[0]["policy"]])
    x = np.load(folder / "minilm.f16.npy").astype(np.float32)[:, keep]
    gold = np.array([row["gold"] for row in rows])[:, keep]
    prompts, size, width = x.shape
    length = np.array([[len(r) for r in row["responses"]] for row in rows])[:, keep]
    prompt = np.repeat(np.arange(prompts), size)
    features = Features({"joint": x.reshape(-1, width)}, prompt=prompt, length=length.ravel().astype(float))
    everything = Candidates(features, np.arange(prompts + 1) * size, gold=gold.ravel())
    for seed in seeds:
        rng = np.random.default_rng(seed)
        order = rng.permutation(prompts)
        train = sample_pairs(everything, order[:300], each=10, flips=0.25, rng=rng)
        test = sample_pairs(everything, order[300:], each=40, flips=0.0, rng=rng)
        yield Split(train, test, everything.take(np.sort(order[300:])), seed)


def world(*, seeds: Sequence[int]) -> Iterator[Split]:
    """The shipped world: 4 000 pairs with bias 1 and 25 % flips; tests on topics held out of training."""
    from embrm.world import shipped

    data = shipped.load("minilm")
    for seed in seeds:
        train = data.preferences(bias=1.0, flips=0.25, seed=seed)
        yield Split(train, data.test_pairs("topics"), data.pools(data.layout.held_out), seed)


def sample_pairs(
    candidates: Candidates, prompts: IntArray, *, each: int, flips: float, rng: np.random.Generator
) -> Pairs:
    """Draw pairs of different gold from the pools of some prompts, and flip a share of them."""
    assert candidates.gold is not None
    won, lost = [], []
    for p in prompts:
        low, high = candidates.offsets[p], candidates.offsets[p + 1]
        drawn = rng.integers(low, high, size=(50 * each, 2))
        drawn = drawn[candidates.gold[drawn[:, 0]] > candidates.gold[drawn[:, 1]]][:each]
        won.append(drawn[:, 0])
        lost.append(drawn[:, 1])
    w, l = np.concatenate(won), np.concatenate(lost)  # noqa: E741
    flip = rng.random(len(w)) < flips
    return Pairs(candidates.features, np.where(flip, l, w), np.where(flip, w, l))


def recipes() -> dict[str, Head]:
    """Return what the table compares: every head, ensembles, and the siamese MLP as published (which is not tuned)."""
    out = {name: heads.get(name)() for name in heads.names() if name != "hmc"}  # NUTS takes minutes at this size
    out["inform, 5 members"] = heads.get("inform")(members=5)
    out["mlp, 5 members"] = heads.get("mlp")(members=5)
    out[PUBLISHED] = heads.get("mlp")(**RELEASED)
    return out


@dataclass(frozen=True, eq=False)
class Measured:
    """What the seeds of one head gave.

    Attributes:
        hits: `(prompts, seeds)` share of test pairs ordered correctly.
        wins: `(prompts, seeds)` gold of the best of all n.
        nll, ece: `(seeds,)` at the temperature found in tuning.
        seconds: to fit one member, tuning left out.
    """

    hits: Array
    wins: Array
    nll: Array
    ece: Array
    seconds: float


def measure(recipe: Head, splits: Sequence[Split], *, budget: int) -> Measured:
    """Tune, fit and measure one head on every seed."""
    hits, wins, nll, ece, seconds = [], [], [], [], 0.0
    for split in splits:
        tuning = tune(recipe, split.train, budget=budget, seed=split.seed, splits=1)
        temperature = next(t.temperature for t in tuning.trials if t.recipe == tuning.best)
        begin = time.perf_counter()
        model = tuning.best.fit(split.train, seed=split.seed)
        seconds += (time.perf_counter() - begin) / getattr(tuning.best, "members", 1) / len(splits)
        reward = model.score(split.test.features)
        margin = reward.mean[split.test.chosen] - reward.mean[split.test.rejected]
        prompt = np.unique(split.test.prompt, return_inverse=True)[1]
        hits.append(np.bincount(prompt, weights=0.5 + 0.5 * np.sign(margin)) / np.bincount(prompt))
        calibrated = calibration(tempered(reward, temperature), split.test)
        nll.append(calibrated.nll)
        ece.append(calibrated.ece)
        pools = split.pools
        assert pools.gold is not None
        proxy = model.score(pools.features).mean
        size = int(np.diff(pools.offsets).min())
        wins.append(bestofn.curve(proxy, pools.gold, [size], offsets=pools.offsets).gold_per_prompt[:, 0])
    return Measured(np.stack(hits, axis=1), np.stack(wins, axis=1), np.array(nll), np.array(ece), seconds)


def shown(x: Interval) -> str:
    """Return an estimate with its interval."""
    return f"{float(x.estimate):.3f} [{float(x.low):.3f}, {float(x.high):.3f}]"


def table(name: str, splits: Sequence[Split], wanted: dict[str, Head], *, budget: int) -> None:
    """Print the table of one data set."""
    begin = time.perf_counter()
    print(f"\n### {name}: {len(splits)} seeds, {len(splits[0].train)} training pairs, 25 % flipped, budget {budget}\n")
    print("| head | pair accuracy | − linear | NLL | ECE | best of n | − linear | s a member |")
    print("|---|---|---|---|---|---|---|---|")
    base: Measured | None = None
    for title, recipe in wanted.items():
        found = measure(recipe, splits, budget=1 if title == PUBLISHED else budget)
        base = found if title == "linear" else base
        assert base is not None
        accuracy, to_linear, best, best_to_linear = (
            bootstrap(v, seed=0, two_way=True)
            for v in (found.hits, found.hits - base.hits, found.wins, found.wins - base.wins)
        )
        mark = " (loses to `linear`)" if float(to_linear.high) < 0 else ""
        cells = [
            f"{title}{mark}",
            shown(accuracy),
            shown(to_linear),
            f"{found.nll.mean():.3f}",
            f"{found.ece.mean():.3f}",
            shown(best),
            shown(best_to_linear),
            f"{found.seconds:.2f}",
        ]
        print(f"| {' | '.join(cells)} |", flush=True)
    gold = [np.split(s.pools.gold, s.pools.offsets[1:-1]) for s in splits if s.pools.gold is not None]
    for title, pick in (("random", np.mean), ("oracle", np.max)):
        wins = np.stack([[float(pick(g)) for g in pools] for pools in gold], axis=1)
        print(f"| {title} | | | | | {shown(bootstrap(wins, seed=0, two_way=True))} | | |")
    print(f"\n{time.perf_counter() - begin:.0f} s in all.")


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, help="folder of an AlpacaEval candidate pool")
    parser.add_argument("--heads", nargs="*", help="only these rows (linear always comes first)")
    parser.add_argument("--budget", type=int, default=4, help="recipes that are tried for each head and seed")
    parser.add_argument("--skip-world", action="store_true")
    arguments = parser.parse_args()
    everything = recipes()
    names = ["linear", *(n for n in (arguments.heads or everything) if n != "linear")]
    wanted = {name: everything[name] for name in names}
    warnings.simplefilter("ignore")
    if arguments.pack:
        table("AlpacaEval pool", list(alpacaeval(arguments.pack, seeds=range(5))), wanted, budget=arguments.budget)
    if not arguments.skip_world:
        table("World, topics held out", list(world(seeds=range(5))), wanted, budget=arguments.budget)


if __name__ == "__main__":
    main()
