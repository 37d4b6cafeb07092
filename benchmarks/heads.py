"""Every head on two data sets with equal tuning budgets: accuracy, NLL, ECE, win rate of best-of-n, seconds.

    python benchmarks/heads.py --pack FOLDER    # FOLDER holds an AlpacaEval candidate pool, see data/README.md
    python benchmarks/heads.py                  # the shipped world alone

Splits are by prompt, a quarter of the training labels is flipped, five seeds. Every head is tuned with the same budget
on validation prompts of each seed's own training set, and each seed is fitted with its own winner; its temperature
comes from there too. Intervals are 95 % bootstraps over test prompts and seeds; differences are paired. A head whose
accuracy is below that of `linear`, interval and all, is marked; so is one whose interval reaches down to 0.5, which is
random. The win rate is that of the best of all n of a pool against a random response of it, by gold; there too 0.5 is
random.

Two workers of one thread each take a head and a seed at a time. Seconds are of CPU, to fit one member.
"""

from __future__ import annotations

import argparse
import functools
import gzip
import itertools
import json
import multiprocessing
import os
import resource
import time
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embrm import Candidates, Features, Pairs, bestofn, heads
from embrm.core.arrays import Array, IntArray
from embrm.heads import Head
from embrm.metrics.calibration import calibration_report, tempered
from embrm.metrics.intervals import Interval, bootstrap
from embrm.training.tuning import tune
from embrm.world import Mechanism, shipped

SEEDS = 5
PUBLISHED = "mlp as published"
RELEASED = {"hidden": (1024, 512), "weight_decay": 0.0, "epochs": 30, "patience": 0}


@dataclass(frozen=True, eq=False)
class Split:
    """One seed's training pairs, clean test pairs, and test pools with gold."""

    train: Pairs
    test: Pairs
    pools: Candidates


@functools.cache
def alpacaeval(folder: Path) -> Candidates:
    """Return the pool of 400 prompts without the policy NullModel."""
    with gzip.open(folder / "candidates.jsonl.gz", "rt") as file:
        rows = [json.loads(line) for line in file]
    keep = np.array([name != "NullModel" for name in rows[0]["policy"]])
    files = {"joint": "minilm.f16.npy", "response": "minilm.responses.f16.npy"}
    views = {name: np.load(folder / file).astype(np.float32)[:, keep] for name, file in files.items()}
    gold = np.array([row["gold"] for row in rows])[:, keep]
    prompts, size, width = views["joint"].shape
    length = np.array([[len(r) for r in row["responses"]] for row in rows])[:, keep]
    prompt = np.repeat(np.arange(prompts), size)
    flat = {name: x.reshape(-1, width) for name, x in views.items()}
    features = Features(flat, prompt=prompt, length=length.ravel().astype(float))
    return Candidates(features, np.arange(prompts + 1) * size, gold=gold.ravel())


def split_alpacaeval(folder: Path, seed: int) -> Split:
    """300 prompts to train on, 10 pairs each, 25 % flipped; 100 to test on, 40 pairs each."""
    everything = alpacaeval(folder)
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(everything))
    train = sample_pairs(everything, order[:300], each=10, flips=0.25, rng=rng)
    pools = everything.take(np.sort(order[300:]))
    return Split(train, sample_pairs(pools, np.arange(len(pools)), each=40, flips=0.0, rng=rng), pools)


world = functools.cache(shipped.load)


def split_world(seed: int) -> Split:
    """The shipped world: 4 000 pairs with bias 1 and 25 % flips; tests on topics held out of training."""
    data = world()
    train = data.preferences(Mechanism(bias=1.0), flips=0.25, seed=seed)
    return Split(train, data.test_pairs("topics"), data.pools(data.layout.held_out))


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
    """Return what can be compared: every head, a bottleneck of five members, and the siamese MLP as published.

    A few hundred transitions of NUTS are enough for means and probabilities; `hmc` takes four times as many by default.
    """
    out: dict[str, Head] = {"linear": heads.get("linear")()} | {name: heads.get(name)() for name in heads.names()}
    out["hmc"] = heads.get("hmc")(chains=2, warmup=50, draws=100)
    out["inform, 5 members"] = heads.get("inform")(members=5)
    out[PUBLISHED] = heads.get("mlp")(**RELEASED)
    return out


@dataclass(frozen=True, eq=False)
class Measured:
    """What one seed of one head gave.

    Attributes:
        hits: `(prompts,)` share of test pairs ordered correctly.
        wins: `(prompts,)` win rate, by gold, of the best of all n against a random response of its pool.
        nll, ece: at the temperature found in tuning.
        seconds: of CPU to fit one member, tuning left out.
    """

    hits: Array
    wins: Array
    nll: float
    ece: float
    seconds: float


def measure(folder: Path | None, title: str, seed: int, *, budget: int) -> Measured:
    """Tune, fit and measure one head on one seed."""
    warnings.simplefilter("ignore")
    split = split_world(seed) if folder is None else split_alpacaeval(folder, seed)
    tuning = tune(recipes()[title], split.train, budget=1 if title == PUBLISHED else budget, seed=seed, splits=1)
    temperature = next(t.temperature for t in tuning.trials if t.recipe == tuning.best)
    begin = time.process_time()
    model = tuning.best.fit(split.train, seed=seed)
    seconds = (time.process_time() - begin) / getattr(tuning.best, "members", 1)
    pools, test = split.pools, split.test
    proxy = model.score(pools.features)
    reward = proxy if test.features is pools.features else model.score(test.features)
    margin = reward.mean[test.chosen] - reward.mean[test.rejected]
    prompt = np.unique(test.prompt, return_inverse=True)[1]
    calibrated = calibration_report(tempered(reward, temperature), test)
    assert pools.gold is not None
    won = bestofn.win_score(pools.gold, offsets=pools.offsets)
    size = int(np.diff(pools.offsets).min())
    return Measured(
        hits=np.bincount(prompt, weights=0.5 + 0.5 * np.sign(margin)) / np.bincount(prompt),
        wins=bestofn.curve(proxy.mean, won, [size], offsets=pools.offsets).gold_per_prompt[:, 0],
        nll=calibrated.nll,
        ece=calibrated.ece,
        seconds=seconds,
    )


def interval(values: Sequence[Array]) -> Interval:
    """Return the mean over prompts and seeds of one array `(prompts,)` a seed."""
    return bootstrap(np.stack(values, axis=1), seed=0, two_way=True)


def shown(x: Interval) -> str:
    """Return an estimate with its interval."""
    return f"{float(x.estimate):.3f} [{float(x.low):.3f}, {float(x.high):.3f}]"


def line(title: str, found: Sequence[Measured], base: Sequence[Measured]) -> str:
    """Return a row of the table."""
    accuracy = interval([m.hits for m in found])
    to_linear = interval([m.hits - b.hits for m, b in zip(found, base, strict=True)])
    marks = ["loses to `linear`"] if float(to_linear.high) < 0 else []
    marks += ["no better than random"] if float(accuracy.low) <= 0.5 else []
    cells = [
        f"{title} ({'; '.join(marks)})" if marks else title,
        shown(accuracy),
        shown(to_linear),
        f"{np.mean([m.nll for m in found]):.3f}",
        f"{np.mean([m.ece for m in found]):.3f}",
        shown(interval([m.wins for m in found])),
        shown(interval([m.wins - b.wins for m, b in zip(found, base, strict=True)])),
        f"{np.mean([m.seconds for m in found]):.2f}",
    ]
    return f"| {' | '.join(cells)} |"


def table(name: str, titles: Iterable[str], results: Iterator[Measured]) -> None:
    """Print the table of one data set as its rows come in."""
    print(f"\n### {name}\n")
    print("| head | pair accuracy | − linear | NLL | ECE | win rate | − linear | seconds per member |")
    print("|---|---|---|---|---|---|---|---|")
    base: list[Measured] = []
    for title in titles:
        found = list(itertools.islice(results, SEEDS))
        base = base or found
        print(line(title, found, base), flush=True)


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pack", type=Path, help="folder of an AlpacaEval candidate pool")
    parser.add_argument("--heads", nargs="*", help=f"only these rows, or '{PUBLISHED}' (linear always comes first)")
    parser.add_argument("--budget", type=int, default=4, help="recipes that are tried for each head and seed")
    parser.add_argument("--skip-world", action="store_true")
    arguments = parser.parse_args()
    titles = dict.fromkeys(["linear", *(arguments.heads or (t for t in recipes() if t != PUBLISHED))])
    data = {"AlpacaEval pool": arguments.pack} if arguments.pack else {}
    data |= {} if arguments.skip_world else {"World, topics held out": None}
    os.environ["OMP_NUM_THREADS"] = "1"  # of each worker
    begin = time.perf_counter()
    with ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn")) as pool:
        units = itertools.product(data.values(), titles, range(SEEDS))
        results = pool.map(functools.partial(measure, budget=arguments.budget), *zip(*units, strict=True))
        for name in data:
            table(name, titles, results)
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(u.ru_utime + u.ru_stime for u in used)
    print(f"\n{SEEDS} seeds, budget {arguments.budget}: {time.perf_counter() - begin:.0f} s, {cpu:.0f} s of CPU.")


if __name__ == "__main__":
    main()
