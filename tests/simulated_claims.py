"""Results whose truth is known: for every claim rows under which it holds, and rows under which it just does not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TypeAlias

import numpy as np

from embrm.bestofn import kl_bound
from embrm.core.arrays import Array
from embrm.study.config import StudyConfig, parse
from embrm.study.metric import Metric
from embrm.study.results import SCHEMA, Cell, Results, Row

DATASET = "world"
SIZES = [1, 2, 4, 8, 16, 32, 64, 128]
PATH_PROMPTS, POOL_PROMPTS, SEEDS = 20, 40, 5
KL = np.linspace(0, 2, 9)
HEAVY, CLEAN = ("biased", 0.25), ("biased", 0.0)
FAIR = ("fair", 0.0)
Where: TypeAlias = tuple[str, Metric, tuple[str, float]]  # head, metric, (mechanism, flips)
Truth: TypeAlias = Mapping[Where, Array]


@cache
def config(*, limit: float = 3600.0) -> StudyConfig:
    """Return the configuration; rows need not come from its heads."""
    return parse(
        {
            "seeds": list(range(SEEDS)),
            "datasets": [{"name": DATASET}],
            "pairs": [500],
            "heads": [{"name": "linear"}],
            "sizes": SIZES,
            "kl_end": float(KL[-1]),
            "kl_points": len(KL),
            "core_seconds": limit,
        }
    )


def trial(claim: str, *, holds: bool, number: int) -> Results:
    """Return the results of one trial of a claim that holds, or does not by as little as its null hypothesis allows."""
    rng = np.random.default_rng([number, int(claim[1:])])
    many = claim == "C12"  # which is about the spread over seeds: its nominal paths have more of it
    truth = in_both_channels(SCENARIOS[claim](holds))
    return results(truth, rng=rng, seeds=20 if many else SEEDS, unstable=0.25 if many else 0.0)


def in_both_channels(truth: Truth) -> Truth:
    """Return the truth with a standard head beside every path, and every path's gold in the best of n as well.

    One of the sizes is where paths have their peak: else it would be lower for sharp ones, and equal peaks be unequal.
    """
    half = len(SIZES) // 2
    kl = np.concatenate([np.linspace(0, 1, half, endpoint=False), np.linspace(1, 2, len(SIZES) - half)])
    at = {where for _, metric, where in truth if metric.family == "path"}
    standard = {("mlp", Metric("path", "mean"), where): hump(2, 0.5) for where in sorted(at)}
    paths = {**standard, **truth}
    bon = {
        (head, Metric("bon", metric.name), where): np.interp(kl, KL, mean)
        for (head, metric, where), mean in paths.items()
        if metric.family == "path"
    }
    return {**bon, **paths}


def results(truth: Truth, *, rng: np.random.Generator, seeds: int = SEEDS, unstable: float = 0.0) -> Results:
    """Return noisy rows around true means.

    Prompts differ in level and in slope, for all heads alike and for each on its own; each model has its own wiggle
    along the path; and every number has noise of its own.
    """
    of_prompt = {n: rng.normal(size=n) for n in (PATH_PROMPTS, POOL_PROMPTS)}
    own = {(head, metric): rng.normal(size=POOL_PROMPTS) for head, metric, _ in truth}
    rows: list[Row] = []
    for seed in range(seeds):
        arrays: dict[tuple[str, tuple[str, float]], dict[Metric, Array]] = {}
        for (head, metric, at), mean in truth.items():
            value = _noisy(metric.family, mean, of_prompt, own[head, metric], rng)
            if metric.name == "robust 0" and metric.family in ("path", "bon"):
                value = value + unstable * rng.normal() * np.linspace(0, 1, len(mean))
            arrays.setdefault((head, at), {Metric("sizes"): np.array(SIZES, dtype=float)})[metric] = value
        for (head, (mechanism, flips)), mine in arrays.items():
            experiment = any(metric.family == "experiment" for metric in mine)
            cell = Cell("experiment" if experiment else "fit", DATASET, head, 500, mechanism, flips, seed)
            rows.append(Row(cell, f"{len(rows):024d}", arrays=mine, seconds={"fit": 0.2, "measure": 0.05}))
    return Results(config(), rows)


def _noisy(family: str, mean: Array, level: Mapping[int, Array], own: Array, rng: np.random.Generator) -> Array:
    if family == "spread":
        return np.asarray(mean * np.exp(0.05 * rng.normal(size=mean.shape)))
    if family in ("points", "watch"):
        return np.asarray(mean + 0.05 * rng.normal(size=mean.shape))
    if family in ("accuracy", "auroc", "experiment"):
        n = PATH_PROMPTS if family == "auroc" else POOL_PROMPTS
        noise = 0.06 * own[:n] + 0.01 * rng.normal() + 0.05 * rng.normal(size=n)
        return np.asarray(mean + 0.1 * level[n] + noise)
    n = PATH_PROMPTS if family == "path" else POOL_PROMPTS
    far = np.linspace(0, 1, len(mean)) ** 0.5  # all paths start at the reference policy
    wiggle = 0.08 * np.cumsum(rng.normal(size=len(mean))) / np.sqrt(len(mean)) * far
    of_prompt = (0.3 * level[n] + 0.1 * own[:n])[:, None] * far
    return np.asarray(level[n][:, None] + mean + of_prompt + wiggle + 0.05 * rng.normal(size=(n, len(mean))) * far)


def hump(top: float, loss: float) -> Array:
    """Return gold `(k,)` that rises to `top` half-way and has lost `loss` at the end."""
    return np.interp(KL, [0, 1, 2], [0, top, top - loss])


def rising(top: float) -> Array:
    """Return gold `(k,)` that rises all the way to `top`."""
    return np.asarray(top * np.sqrt(KL / KL[-1]))


def _c1(holds: bool) -> Truth:
    return {("mlp", Metric("path", "mean"), HEAVY): hump(2, 0.6 if holds else 0.0)}


def _versus(at: tuple[str, float], inform: Array) -> Truth:
    return {("mlp", Metric("path", "mean"), at): hump(2, 0.5), ("inform", Metric("path", "mean"), at): inform}


def _c2(holds: bool) -> Truth:
    return _versus(CLEAN, hump(2.5, 0.5) if holds else hump(2, 0.2))


def _c3(holds: bool) -> Truth:
    return _versus(CLEAN, hump(2, 0.0) if holds else hump(2.5, 0.5))


def _c4(holds: bool) -> Truth:
    return _versus(HEAVY, hump(2.5, 0.0) if holds else hump(2, 0.0))


def _c5(holds: bool) -> Truth:
    grid = {f"inform beta={beta} latent={k}": 0.4 for beta in (0.01, 0.1) for k in (8, 32)}
    grid["inform beta=0.1 latent=32"] = 0.4 if holds else 0.0
    heads = {"mlp": 0.0, **grid}
    return {(head, Metric("path", "mean"), HEAVY): rising(2 + more) for head, more in heads.items()}


def _c6(holds: bool) -> Truth:
    gains = {"in": 0.05, "topics": 0.12 if holds else 0.05, "counts": 0.16 if holds else 0.05}
    mlp: Truth = {("mlp", Metric("accuracy", split), HEAVY): np.array(0.7) for split in gains}
    return {**mlp, **{("inform", Metric("accuracy", s), HEAVY): np.array(0.7 + gain) for s, gain in gains.items()}}


def _c7(holds: bool) -> Truth:
    gold, after = np.array([0, 1, 2, 3, 4, 4, 3, 2, 1.0]), np.repeat([0.0, 1.0], [6, 3])
    return {
        ("inform", Metric("points", "gold"), HEAVY): gold,
        ("inform", Metric("watch", "csi", "latent"), HEAVY): 2 + after,
        ("inform", Metric("points", "gold"), ("fair", 0.25)): np.arange(9.0),
        ("inform", Metric("watch", "csi", "latent"), ("fair", 0.25)): 2 + (0.0 if holds else 0.25) * after,
    }


def _c8(holds: bool) -> Truth:
    level = {"latent": 0.87 if holds else 0.75, "joint": 0.75, "pca": 0.65}
    return {("inform", Metric("auroc", space=space), HEAVY): np.array(value) for space, value in level.items()}


def _c9(holds: bool) -> Truth:
    more = {"mean": 0.0, "ibl 0.01": 0.0, "ibl 0.1": 0.4 if holds else 0.0, "ibl 1": -0.2 if holds else 0.0}
    return {("inform", Metric("path", rule), HEAVY): hump(2 + gain, 0.6) for rule, gain in more.items()}


def _brme(**tops: float) -> Truth:
    return {("brme", Metric("path", rule.replace("_", " ")), HEAVY): rising(top) for rule, top in tops.items()}


def _bon(top: float) -> Array:
    return np.asarray(np.linspace(0, 1, len(SIZES)) * top)


def _c10(holds: bool) -> Truth:
    return _brme(robust_0=2.3 if holds else 2.0, single=2.0, mean=2.1)


def _levels(tops: list[float]) -> Truth:
    names = ("robust 0", "robust 0.25", "robust 0.5", "robust 0.75", "robust 1")
    return {("brme", Metric("path", name), HEAVY): rising(top) for name, top in zip(names, tops, strict=True)}


def _c11(holds: bool) -> Truth:
    return _levels([2.0, 2.2, 2.4, 2.2, 1.9] if holds else [2.0, 2.0, 2.0, 2.0, 1.6])


def _c12(holds: bool) -> Truth:
    tops = _levels([2.0, 2.1, 2.3, 2.3, 2.2] if holds else [2.0] * 5)
    spread = {
        ("brme", replace(metric, family="spread"), at): np.array([1.0, 2.0]) * (1 - 0.15 * i)
        for i, (_, metric, at) in enumerate(tops)
    }
    return {**tops, **spread}


def _c13(holds: bool) -> Truth:
    worth = {"mean": 2.0, "over": 1.5 if holds else 1.8, "under": 1.8}
    return {("mlp", Metric("bon", name), HEAVY): _bon(top) for name, top in worth.items()}


def _c14(holds: bool) -> Truth:
    steady = rising(2) if holds else hump(2, 0.1)
    return {
        ("mlp x5", Metric("path", "worst_case"), HEAVY): steady,
        ("mlp x5", Metric("path", "uncertainty_weighted"), HEAVY): rising(2),
        ("mlp x5", Metric("path", "mean"), HEAVY): hump(2, 0.8),
    }


def _c15(holds: bool) -> Truth:
    tops = {"embedder ensemble": 2.3 if holds else 2.0, "seed ensemble": 2.0}
    return {(head, Metric("path", "mean"), HEAVY): rising(top) for head, top in tops.items()}


def _c16(holds: bool) -> Truth:
    clean, noisy = ("fair", 0.0), ("fair", 0.25)
    return {
        ("mlp", Metric("accuracy", "in"), clean): np.array(0.8),
        ("mlp", Metric("accuracy", "in"), noisy): np.array(0.7),
        ("mlp classification", Metric("accuracy", "in"), clean): np.array(0.78),
        ("mlp classification", Metric("accuracy", "in"), noisy): np.array(0.75 if holds else 0.68),
    }


def _c17(holds: bool) -> Truth:
    d = np.sqrt(kl_bound(SIZES))
    gold = d * (2 - 0.1 * d)
    as_wrong = gold[-2:].mean()  # half-way between what the law says and where the path was at 64
    return {("mlp", Metric("bon", "mean"), HEAVY): gold if holds else np.append(gold[:-1], as_wrong)}


def _c18(holds: bool) -> Truth:
    tops = {"mean": 2.3 if holds else 2.0, "branches": 2.0}
    return {("warm", Metric("path", rule), HEAVY): rising(top) for rule, top in tops.items()}


def _c20(holds: bool) -> Truth:
    points = {
        "inform beta=0.01": (0.70, 2.1),
        "inform beta=0.1": (0.68, 3.0 if holds else 2.2),
        "mlp weight_decay=0.01": (0.70, 2.1),
        "mlp weight_decay=1": (0.68, 2.2),
    }
    gold = {(head, Metric("path", "mean"), HEAVY): rising(top) for head, (_, top) in points.items()}
    return {**gold, **{(head, Metric("accuracy", "in"), HEAVY): np.array(a) for head, (a, _) in points.items()}}


def _c21(holds: bool) -> Truth:
    rules = {"ibl 0.01": "inform", "robust 0": "brme", "robust 0.5": "brme", "robust 1": "brme"}
    defences = [("mlp x5", "worst_case"), ("mlp x5", "uncertainty_weighted"), ("inform", "mean"), ("warm", "mean")]
    defences += [("laplace", "mean"), *((head, rule) for rule, head in rules.items())]
    return {(head, Metric("path", rule), HEAVY): hump(2.5 if holds else 2.0, 0.5) for head, rule in defences}


def _steps(**means: float) -> Truth:
    return {("steps", Metric("experiment", f"steps.{name}"), FAIR): np.array(mean) for name, mean in means.items()}


def _c22(holds: bool) -> Truth:
    names = ("min", "product", "last", "mean", "max")
    return _steps(**{name: 0.7 - 0.03 * i * holds for i, name in enumerate(names)})


def _c23(holds: bool) -> Truth:
    names = ("min", "product", "last", "mean", "max")
    return _steps(**dict.fromkeys(names, 0.7), outcome=0.62 if holds else 0.7)


def _c24(holds: bool) -> Truth:
    return _steps(search=0.78 if holds else 0.7, whole=0.7, random=0.5)


def _c29(holds: bool) -> Truth:
    names = ("linear", "ensemble", "worst case", "lower bound", "bottleneck", "weight averaging")
    shares = {"standard": 0.8, **dict.fromkeys(names, 0.6 if holds else 0.8)}
    truth = {f"{name} accepted": share for name, share in shares.items()} | {f"{name} flips": 0.1 for name in shares}
    return {("stress", Metric("experiment", f"stress.{name}"), HEAVY): np.array(x) for name, x in truth.items()}


def _experiment(name: str, at: tuple[str, float], values: Mapping[str, float]) -> Truth:
    return {(name, Metric("experiment", f"{name}.{part}"), at): np.array(value) for part, value in values.items()}


def _c26(holds: bool) -> Truth:
    gains = {"egalitarian sure": 0.6 if holds else 0.4, "utilitarian": 0.4, "egalitarian": 0.5, "utilitarian sure": 0.4}
    return _experiment("annotators", FAIR, gains)


def _c28(holds: bool) -> Truth:
    return _experiment("inverse", FAIR, {"entropy": 0.8 if holds else 0.72, "labels": 0.9, "margin": 0.6})


def _c25(holds: bool) -> Truth:
    gold = {"plain": 0.7, "told": 1.2, "held_out": 1.1 if holds else 0.7, "negation": 0.8}
    return {("principle", Metric("experiment", f"principle.{name}"), HEAVY): np.array(g) for name, g in gold.items()}


def _c27(holds: bool) -> Truth:
    shares = {"consistent": 0.75, "plain": 0.68, "labels": 0.68 if holds else 0.75}
    titles = ("self_training 250", "self_training 500")
    return {
        (title, Metric("experiment", f"{title}.{name}"), ("fair", 0.25)): np.array(share)
        for title in titles
        for name, share in shares.items()
    }


SCENARIOS = {name.strip("_").upper(): make for name, make in list(globals().items()) if name.startswith("_c")}


def write_study(results: Results, folder: Path) -> Path:
    """Write results as the folder of a study that has been run, and return it."""
    (folder / "cells").mkdir(parents=True)
    keys = [f"{i:024x}" for i in range(len(results.rows))]
    for key, row in zip(keys, results.rows, strict=True):
        replace(row, key=key).save(folder / "cells")
    environment = {"seconds": 0.0, "started": "", "finished": ""}
    stored = {"schema": SCHEMA, "config": results.config.model_dump(mode="json"), "keys": keys}
    stored |= {"failures": {}, "environment": environment}
    (folder / "config.json").write_text(json.dumps(stored), encoding="utf-8")
    return folder
