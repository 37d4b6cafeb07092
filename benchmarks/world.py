"""What the simulated world must show, measured: hacking with biased annotators, none without, and readable gold.

    python benchmarks/world.py [--seeds 5] [--rl] [--frontier]

Prints Markdown tables with 95 % intervals over seeds (Student's t). Everything is read from the shipped data; `--rl`
also trains policies against two heads, which needs MiniLM and takes two minutes a run.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import RidgeCV
from sklearn.preprocessing import StandardScaler

from embrm import embedders, heads
from embrm.bestofn import curve
from embrm.bestofn.scaling_law import peak
from embrm.core.arrays import Array, IntArray
from embrm.core.data import Problem
from embrm.heads import FittedHead
from embrm.metrics.intervals import bootstrap
from embrm.policies.training import PolicyGradient
from embrm.world import Mechanism
from embrm.world.fresh import draw_sample
from embrm.world.runs import rewarded_by
from embrm.world.shipped import load
from embrm.world.world_sample import WorldSample

FAIR, BIASED, CONFOUNDED = Mechanism(), Mechanism(bias=1.0), Mechanism(confounding=2.0)
SETTINGS = {  # mechanism, flips
    "biased, 25 % flips": (BIASED, 0.25),
    "biased": (BIASED, 0.0),
    "confounded": (CONFOUNDED, 0.0),
    "fair": (FAIR, 0.0),
}
HEADS: tuple[tuple[str, dict[str, float]], ...] = (
    ("linear", {}),
    ("mlp", {}),
    ("inform", {"beta": 1e-2}),
    ("inform", {"beta": 3e-2}),
)
KLS = (1.0, 2.0, 3.0, 4.0)


def interval(values: Sequence[float], form: str = "{:.3f}") -> str:
    """Return mean and 95 % interval over seeds."""
    x = np.asarray(values, dtype=float)
    half = stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x)) if len(x) > 1 else np.nan
    return f"{form} [{form}, {form}]".format(x.mean(), x.mean() - half, x.mean() + half)


def row(*cells: object) -> None:
    """Print one row of a Markdown table."""
    print("| " + " | ".join(map(str, cells)) + " |", flush=True)


def header(*cells: str) -> None:
    """Print a Markdown table's first two rows."""
    row(*cells)
    row(*("---" for _ in cells))


def loss_after_peak(gold: Array, *, seed: int) -> tuple[float, float]:
    """Return gain at the peak and what is lost of it at the end, of gold `(points, prompts)`.

    The peak is located on half of the prompts and measured on the other half, swapped and averaged over 20 halvings.
    """
    found = [peak(gold.T, seed=100 * seed + h, draws=2) for h in range(20)]
    return float(np.mean([f.gain.estimate for f in found])), float(np.mean([f.drop.estimate for f in found]))


def lost_share(gain: Sequence[float], drop: Sequence[float]) -> str:
    """Return Σ drop / Σ gain over seeds with its bootstrap interval; single ratios explode where a gain is small."""
    both = np.stack([gain, drop], axis=1)
    found = bootstrap(both, seed=0, statistic=lambda m: m[..., 1] / m[..., 0])
    return f"{float(found.estimate):.2f} [{float(found.low):.2f}, {float(found.high):.2f}]"


def fit(data: WorldSample, name: str, title: str, *, seeds: int, **options: float) -> list[FittedHead]:
    """Fit a head on labels of several seeds, all at once."""
    mechanism, flips = SETTINGS[title]
    problems = [Problem(data.preferences(mechanism, flips=flips, seed=s), seed=s) for s in range(seeds)]
    return list(heads.get(name)(**options).fit_many(problems))


def hacking(data: WorldSample, seeds: int) -> None:
    """Follow the optima of heads trained by biased and by fair annotators."""
    pool, test = data.proposals(), data.test_pairs("in")
    header("annotators", "head", "gold at π_ref", "gain at the peak", "drop to the end", "share lost", "KL", "accuracy")
    for title in SETTINGS:
        for name in ("mlp", "linear"):
            cells: dict[str, list[float]] = {k: [] for k in ("start", "gain", "drop", "kl", "accuracy")}
            for seed, model in enumerate(fit(data, name, title, seeds=seeds)):
                path = data.proposal_pool(model.score(pool.features).mean).path()
                gold = path.gold[: path.end + 1]
                gain, drop = loss_after_peak(gold, seed=seed)
                reward = model.score(test.features).mean
                accuracy = float((reward[test.chosen] > reward[test.rejected]).mean())
                for column, value in zip(
                    cells.values(), (gold[0].mean(), gain, drop, path.kl[path.end].mean(), accuracy), strict=True
                ):
                    column.append(float(value))
            numbers = {k: interval(x) for k, x in cells.items()}
            share = lost_share(cells["gain"], cells["drop"])
            row(
                title,
                name,
                numbers["start"],
                numbers["gain"],
                numbers["drop"],
                share,
                numbers["kl"],
                numbers["accuracy"],
            )


def frontier(data: WorldSample, seeds: int) -> None:
    """Measure gold at fixed KL under each mechanism: whether a bottleneck helps, and against what."""
    columns = (*(f"gold at {k:g}" for k in KLS), "best of 128", "believed to", "inform − mlp at 2")
    header("annotators", "head", *columns)
    own = data.reference_rows
    for title in SETTINGS:
        standard: list[float] = []
        for name, options in HEADS:
            gold, best, end = [], [], []
            for model in fit(data, name, title, seeds=seeds, **options):
                reward = model.score(data.features["pools"]).mean
                path = data.proposal_pool(reward).path()
                kl = path.kl.mean(axis=1)
                gold.append(np.interp(KLS, kl, path.gold.mean(axis=1)))
                best.append(curve(reward[own], data.gold[own], [128]).gold[0])
                end.append(kl[path.end])
            at = [g[1] for g in gold]
            standard = at if name == "mlp" else standard
            paired = interval(np.subtract(at, standard).tolist()) if name == "inform" else ""
            label = " ".join([name, *(f"{k}={v:g}" for k, v in options.items())])
            cells = (f"{g:.2f}" for g in np.mean(gold, axis=0))
            row(title, label, *cells, f"{np.mean(best):.2f}", f"{np.median(end):.1f}", paired)


def out_of_distribution(data: WorldSample, seeds: int) -> None:
    """Measure pair accuracy on the three test splits."""
    header("annotators", *(f"accuracy: {s}" for s in ("in", "topics", "counts")))
    for title in SETTINGS:
        models = fit(data, "mlp", title, seeds=seeds)
        cells = []
        for split in ("in", "topics", "counts"):
            test = data.test_pairs(split)
            rewards = [m.score(test.features).mean for m in models]
            cells.append(interval([float((r[test.chosen] > r[test.rejected]).mean()) for r in rewards]))
        row(title, *cells)


def probes() -> None:
    """Measure how well a linear map recovers gold: from vectors as they are, and less the mean of their prompt.

    A preference compares texts of one prompt, so what all texts of a prompt share never reaches a reward head.
    """
    header("vectors", "R², training topics in new wordings", "held-out topics", "within prompts: training", "held-out")
    for name in ("minilm", "hashing", "bag of words"):
        data = load("minilm" if name == "bag of words" else name)
        texts, pools, own = data.responses["training"], data.responses["pools"], data.reference_rows.ravel()
        if name == "bag of words":
            words = CountVectorizer(ngram_range=(1, 2), min_df=3, max_features=1500, binary=True).fit(texts.texts)
            x, y = words.transform(texts.texts).toarray(), words.transform([pools.texts[i] for i in own]).toarray()
        else:
            x, y = data.features["training"].matrix("joint"), data.features["pools"].matrix("joint")[own]
        known = np.isin(pools.topic[own], data.layout.training)
        gold = data.gold[own]
        cells = []
        for within in (False, True):
            a, b = (
                centred(v, prompt) if within else v
                for v, prompt in ((x, data.features["training"].prompt), (y, data.features["pools"].prompt[own]))
            )
            scale = StandardScaler().fit(a)
            probe = RidgeCV(alphas=np.logspace(0, 5, 11)).fit(scale.transform(a), data.world.gold(texts.counts))
            cells += [probe.score(scale.transform(b[m]), gold[m]) for m in (known, ~known)]
        row(name, *(f"{s:.3f}" for s in cells))


def centred(x: Array, prompt: IntArray) -> Array:
    """Return the rows less the mean of their prompt."""
    number = np.unique(prompt, return_inverse=True)[1]
    means = np.stack([x[number == p].mean(axis=0) for p in range(number.max() + 1)])
    return np.asarray(x - means[number])


def reinforcement(data: WorldSample, seeds: int) -> None:
    """Train the grammar policy against heads of biased and of fair annotators."""
    header("annotators", "seed", "KL at the end", "gold: start", "peak", "end", "proxy: start", "end", "seconds")
    embedder = embedders.get("minilm")()
    smooth: Callable[[Array], Array] = lambda x: np.convolve(x, np.ones(20) / 20, mode="valid")  # noqa: E731
    for title in ("biased, 25 % flips", "fair"):
        for seed, model in enumerate(fit(data, "mlp", title, seeds=seeds)):
            start = time.perf_counter()
            world = data.world.only(data.layout.training.tolist())
            run = PolicyGradient().train(world, rewarded_by(model, embedder), seed=seed)
            gold, proxy = smooth(run.series("gold")), smooth(run.series("proxy"))
            kl = run.series("kl")[-1]
            seconds = time.perf_counter() - start
            numbers = (kl, gold[0], gold.max(), gold[-1], proxy[0], proxy[-1])
            row(title, seed, *(f"{x:.2f}" for x in numbers), f"{seconds:.0f}")


def main() -> None:
    """Print all tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rl", action="store_true", help="train policies too")
    parser.add_argument("--frontier", action="store_true", help="only gold at fixed KL, also of the static embedder")
    typed = parser.parse_args()
    data = load()
    print("## Gold at fixed KL\n")
    frontier(data, typed.seeds)
    print("\nOn the fast world (embedder static)\n")
    frontier(draw_sample(data.world, embedders.get("static")(), seed=0), typed.seeds)
    if typed.frontier:
        return
    print()
    print("## Hacking along the path of KL-regularised optima\n")
    hacking(data, typed.seeds)
    print("\n## Pairs in and out of distribution, labelled by the gold (MLP)\n")
    out_of_distribution(data, typed.seeds)
    print("\n## Gold read off the vectors\n")
    probes()
    if typed.rl:
        print("\n## REINFORCE, 200 steps of 64 texts, means of 20 steps\n")
        reinforcement(data, min(typed.seeds, 2))


if __name__ == "__main__":
    main()
