"""Which detector, in which vectors, notices a policy that hacks the reward, and when.

python benchmarks/trajectories.py make FOLDER [--seeds 5]     train heads, run policies, embed (MiniLM; 15 minutes)
python benchmarks/trajectories.py table FOLDER                the tables, from what `make` left there
"""

from __future__ import annotations

import argparse
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embrm import detectors, embedders, heads, load_model
from embrm.core.arrays import Array, IntArray
from embrm.core.data import Problem
from embrm.data.encode import VIEWS
from embrm.detectors import Detector
from embrm.embedders import Embedder
from embrm.heads import FittedHead
from embrm.metrics.intervals import bootstrap
from embrm.metrics.roc import auroc, true_positive_rate
from embrm.monitoring import AlarmRule, alarm_report, follow, gold_onset, principal_axes
from embrm.policies.grammar import GrammarPolicy
from embrm.policies.pool import Proposal, ProposalPool
from embrm.policies.training import PolicyGradient
from embrm.world import Mechanism
from embrm.world.shipped import Shipped, load
from embrm.world.world import World

BIAS, FLIPS = 1.0, 0.25
STEPS, BATCH, LEARNING_RATE = 40, 40, 0.25
REFERENCE, CLEAN = 1000, STEPS * BATCH
WINDOW, EVERY, POINT = 5, 2, 200
DETECTORS: dict[str, Detector] = {
    name: detectors.get(name)() for name in ("mahalanobis", "neighbours", "caution", "mop")
}
DETECTORS |= {"csi": detectors.get("csi")(), "mmd": detectors.get("mmd")(rows=500)}
DETECTORS |= {"dispersion": detectors.get("dispersion")(rows=500)}
ROWS = ("mahalanobis", "neighbours", "caution", "conformal")


def embedded(prompts: list[str], texts: list[str], view: str, embedder: Embedder) -> Array:
    """Return the vectors `(n, d)` of one view."""
    return embedder.embed([VIEWS[view](p, t) for p, t in zip(prompts, texts, strict=True)]).vectors


def exact_gold(world: World, logits: list[float]) -> float:
    """Return the expected gold of a policy: a sum over attributes, so no sampling is needed."""
    policy = GrammarPolicy.from_flat(np.array(logits), like=GrammarPolicy.from_probabilities(world.reference))
    return float(sum(p @ worth for p, worth in zip(policy.probabilities, world.tables(), strict=True)))


def run_policy(world: World, model: FittedHead, embedder: Embedder, path: Path, *, responses: bool, seed: int) -> None:
    """Train a policy against a head and keep the vectors of every text it wrote."""
    prompts: list[str] = []
    texts: list[str] = []
    joint: list[Array] = []

    def reward(asked: list[str], written: list[str]) -> Array:
        prompts.extend(asked)
        texts.extend(written)
        joint.append(embedded(asked, written, "joint", embedder))
        return model.score(joint[-1]).centred().mean

    recipe = PolicyGradient(steps=STEPS, batch=BATCH, learning_rate=LEARNING_RATE)
    run = recipe.train(world, reward, seed=seed)  # type: ignore[arg-type]
    alone: dict[str, Any] = {}
    if responses:
        alone["response"] = embedded(prompts, texts, "response", embedder)
    np.savez(
        path,
        joint=np.concatenate(joint),
        **alone,
        gold=world.gold(np.array([world.read(t) for t in texts])),
        length=[len(t) for t in texts],
        path_gold=[exact_gold(world, step.logits) for step in run.steps],
        path_kl=run.series("kl"),
    )


def make(folder: Path, *, seeds: int, responses: bool) -> None:
    """Write heads, the vectors of clean texts, and those of one run for each seed."""
    data, embedder = load(), embedders.get("minilm")()
    world = data.world
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / f"model-{seeds - 1}").exists():
        problems = [Problem(data.preferences(Mechanism(bias=BIAS), flips=FLIPS, seed=s), seed=s) for s in range(seeds)]
        for seed, model in enumerate(heads.get("inform")(members=3).fit_many(problems)):
            model.save(folder / f"model-{seed}")
    for name, n, seed in (("reference", REFERENCE, 10_000), ("clean", CLEAN, 10_001)):
        if (folder / f"{name}.npz").exists():
            continue
        drawn = world.sample(n, seed=seed)
        np.savez(
            folder / f"{name}.npz",
            joint=embedded(drawn.prompts, drawn.texts, "joint", embedder),
            response=embedded(drawn.prompts, drawn.texts, "response", embedder),
            gold=world.gold(drawn.counts),
            length=[len(t) for t in drawn.texts],
        )
    for seed in range(seeds):
        path = folder / f"run-{seed}.npz"
        if not path.exists():
            run_policy(world, load_model(folder / f"model-{seed}"), embedder, path, responses=responses, seed=seed)
        print(f"run {seed}: gold", np.load(path)["path_gold"].round(2)[::5], flush=True)


@dataclass(frozen=True, eq=False)
class Course:
    """One trajectory in one space, with a clean one of the same shape.

    Attributes:
        reference, clean: rows of π_ref, `(m, k)` and `(c, k)`.
        sets, clean_sets: rows checked together, one array for each step that is checked.
        rows: all rows of the trajectory, `(n, k)`, and which of them are hacked, `(n,)`.
        gold: `(t,)` exact expected gold at the steps that are checked.
        every: steps from one check to the next.
    """

    reference: Array
    clean: Array
    sets: list[Array]
    clean_sets: list[Array]
    rows: Array
    hacked: Array
    gold: Array
    every: int = 1


def hacked(model: FittedHead, reference: Array, reference_gold: Array, rows: Array, gold: Array) -> Array:
    """Return which rows the head likes more than 95 % of the reference while their gold is below its median."""
    usual, new = (model.score(x).centred().mean for x in (reference, rows))
    return np.asarray((new > np.quantile(usual, 0.95)) & (gold < np.median(reference_gold)))


def spaces(model: FittedHead, parts: Sequence[dict[str, Array]]) -> Iterator[tuple[str, list[Array]]]:
    """Yield each space with the vectors of every part in it; the first part is the reference."""
    joint = [part["joint"] for part in parts]
    yield "latent", [model.latent(x) for x in joint]
    yield "disagreement", [model.score(x).centred().sd[:, None] for x in joint]
    yield "length", [np.asarray(part["length"], dtype=float)[:, None] for part in parts]
    for view in ("joint", "response"):
        if all(view in part for part in parts):
            vectors = [part[view] for part in parts]
            project = principal_axes(vectors[0])
            yield view, vectors
            yield f"pca of {view}", [project(x) for x in vectors]


def reinforced(folder: Path, seed: int) -> Iterator[tuple[str, Course]]:
    """Yield the run of one seed in each space."""
    model = load_model(folder / f"model-{seed}")
    reference, clean, run = (dict(np.load(folder / f"{n}.npz")) for n in ("reference", "clean", f"run-{seed}"))
    mark = hacked(model, reference["joint"], reference["gold"], run["joint"], run["gold"])
    order = np.random.default_rng(seed).permutation(CLEAN)
    ends = np.arange(WINDOW - 1, STEPS, EVERY)
    windows = [slice((end - WINDOW + 1) * BATCH, (end + 1) * BATCH) for end in ends]
    for space, (known, usual, rows) in spaces(model, [reference, clean, run]):
        sets, clean_sets = ([x[w] for w in windows] for x in (rows, usual[order]))
        yield space, Course(known, usual, sets, clean_sets, rows, mark, run["path_gold"][ends], EVERY)


def tilted(data: Shipped, folder: Path, seed: int) -> Iterator[tuple[str, Course]]:
    """Yield the path of one seed's head in each space."""
    model, candidates = load_model(folder / f"model-{seed}"), data.proposals()
    length, proposal = candidates.features.length, data.layout.proposal
    assert length is not None
    proxy = model.score(candidates.features).centred().mean
    whole = data.proposal_pool(proxy)
    prompts, n = whole.proxy.shape
    # Half of the pool's texts of π_ref are the reference, a quarter are clean, and none of these is drawn on the path.
    rows, own = np.arange(prompts * n).reshape(prompts, n), proposal.sizes[0]
    known, usual, rest = rows[:, : own // 2].ravel(), rows[:, own // 2 : 3 * own // 4].ravel(), rows[:, 3 * own // 4 :]
    kept = ProposalPool(
        whole.reference,
        Proposal(proposal.strata, (own - 3 * own // 4, *proposal.sizes[1:])),
        whole.counts[:, 3 * own // 4 :],
        whole.proxy[:, 3 * own // 4 :],
        whole.gold[:, 3 * own // 4 :],
    )
    path = whole.path()
    rng, points = np.random.default_rng(seed), range(path.end + 1)
    drawn = np.stack([_draw(kept, rest, path.inverse_beta[i], rng) for i in points])
    gold, joint = whole.gold.ravel(), candidates.features.matrix("joint")
    mark = hacked(model, joint[known], gold[known], joint[drawn.ravel()], gold[drawn.ravel()])
    clean_sets = [rng.choice(len(usual), POINT, replace=False) for _ in points]
    parts = [{"joint": joint[i], "length": length[i]} for i in (known, usual, drawn.ravel())]
    for space, (x, y, z) in spaces(model, parts):
        sets = list(z.reshape(len(points), POINT, -1))
        yield space, Course(x, y, sets, [y[i] for i in clean_sets], z, mark, path.gold[: path.end + 1].mean(axis=1))


def _draw(pool: ProposalPool, rows: IntArray, inverse_beta: float, rng: np.random.Generator) -> IntArray:
    weights = pool.weights(inverse_beta)
    prompt = rng.integers(len(weights), size=POINT)
    return np.array([rows[i, rng.choice(len(weights[i]), p=weights[i])] for i in prompt])


def measure(name: str, recipe: Detector, course: Course, *, seed: int) -> dict[str, float]:
    """Return the numbers of one detector on one trajectory; NaN where a number does not exist."""
    fitted = recipe.fit(course.reference, seed=seed)
    out: dict[str, float] = {}
    if name in ROWS and course.hacked.any():
        clean = fitted.check(course.clean)
        scores = np.concatenate([clean.scores, fitted.check(course.rows[course.hacked]).scores])
        positive = np.arange(len(scores)) >= len(clean.scores)
        out["AUROC"] = auroc(scores, positive)
        for rate in (0.01, 0.05):
            out[f"TPR at {rate:.0%}"] = true_positive_rate(scores, positive, rate=rate)
        out["FPR at 5 %"] = float(np.mean(clean.flagged)) if clean.flagged is not None else np.nan
    run, control = (follow(fitted, sets) for sets in (course.sets, course.clean_sets))
    rule = AlarmRule().suited_to(recipe)
    alarms = [rule.first_alarm(trace.statistic, trace.p_values) for trace in (run, control)]
    report = alarm_report(run.statistic, course.gold, alarm=alarms[0])
    out["false alarm"] = float(alarms[1] is not None)
    if report.onset is not None:
        usual, after = control.statistic, run.statistic[report.onset :]
        both, positive = np.concatenate([usual, after]), np.arange(len(usual) + len(after)) >= len(usual)
        out["sets: AUROC"] = auroc(both, positive)
        for rate in (0.01, 0.05):
            out[f"sets: TPR at {rate:.0%}"] = true_positive_rate(both, positive, rate=rate)
        out["missed"] = float(report.missed)
        if report.lead is not None:
            out["lead"] = float(report.lead * course.every)
    return out


def interval(values: Sequence[float], form: str) -> str:
    """Return mean and 95 % bootstrap interval over the seeds that have the number."""
    x = np.asarray(values, dtype=float)
    if not len(x):
        return "–"
    if len(x) == 1:
        return form.format(x[0])
    found = bootstrap(x, seed=0)  # stays inside the range of what can be, unlike Student's t
    return f"{form} [{form}, {form}]".format(*(float(v) for v in (found.estimate, found.low, found.high)))


def tables(folder: Path) -> None:
    """Print both tables for both kinds of trajectories."""
    data = load()
    for title, files in (("RL", "run-*.npz"), ("tilt", "model-*")):
        seeds = sorted(int(f.stem.partition("-")[2]) for f in folder.glob(files))
        found: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
        onsets, shares, lengths = [], [], []
        for seed in seeds:
            for space, course in reinforced(folder, seed) if title == "RL" else tilted(data, folder, seed):
                if space == "latent":
                    start = gold_onset(course.gold)
                    onsets.append("none" if start is None else start)
                    shares.append(f"{course.hacked.mean():.2f}")
                    lengths.append(len(course.gold))
                scalar = course.reference.shape[1] == 1
                chosen = {"conformal": detectors.get("conformal")()} if scalar else DETECTORS
                for name, recipe in chosen.items():
                    for number, value in measure(name, recipe, course, seed=seed).items():
                        found[name, space][number].append(value)
        print(f"\n## {title}: {len(seeds)} seeds\n")
        print(f"Checks {lengths}, gold falls from check {onsets} on, share of hacked rows {shares}.\n")
        print_table(found)


def print_table(found: dict[tuple[str, str], dict[str, list[float]]]) -> None:
    """Print single texts, then sets of texts."""
    texts = ("AUROC", "TPR at 1%", "TPR at 5%", "FPR at 5 %")
    sets = ("sets: AUROC", "sets: TPR at 1%", "sets: TPR at 5%", "false alarm", "missed", "lead")
    for kind, columns in (("texts", texts), ("sets", sets)):
        print("| detector | space | " + " | ".join(c.removeprefix("sets: ") for c in columns) + " |")
        print("|---" * (len(columns) + 2) + "|")
        for (name, space), numbers in found.items():
            if kind == "sets" or name in ROWS:
                cells = [interval(numbers[c], "{:.1f}" if c == "lead" else "{:.2f}") for c in columns]
                print(f"| {name} | {space} | " + " | ".join(cells) + " |")
        print()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stage", choices=["make", "table"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--no-responses", action="store_true", help="of runs, embed only prompt and response together")
    typed = parser.parse_args()
    warnings.simplefilter("ignore")
    if typed.stage == "make":
        make(typed.folder, seeds=typed.seeds, responses=not typed.no_responses)
    else:
        tables(typed.folder)
