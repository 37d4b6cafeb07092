"""A study that never ran: planted curves in the shape that measured ones have, for the report and its tests."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from embrm.core.arrays import Array
from embrm.study.claims import ClaimVerdict, Finding
from embrm.study.config import StudyConfig, parse
from embrm.study.metric import Metric
from embrm.study.results import Cell, Results, Row, key_of

# Head → (how fast gold rises with √KL, what bias takes from it, what flips take from it). Planted: `mlp` is hacked
# under bias, `inform` hardly.
HEADS = {
    "linear": (1.3, 0.35, 0.10),
    "mlp": (1.6, 0.62, 0.20),
    "inform": (1.7, 0.30, 0.05),
    "inform beta=0.1": (1.2, 0.28, 0.05),
    "ensemble": (1.7, 0.45, 0.08),
    "brme": (1.5, 0.40, 0.06),
}
RULES = {"mean": 1.0, "worst_case": 0.55, "robust ρ=0.5": 0.75}
SPLITS = ("in", "topics", "counts")
ATTRIBUTES = ["correct", "wrong", "flattery", "padding", "overconfidence", "hedging"]
HOSTILE = '<img src=x onerror="alert(1)"></script><script>alert(2)</script> {{ 7 * 7 }} & "quoted"'


def config(**changes: Any) -> StudyConfig:
    """Return the configuration of the simulated study."""
    values: dict[str, Any] = {
        "seeds": [0, 1, 2],
        "datasets": [{"name": "world"}, {"name": "answers", "kind": "pool", "pool": "answers.jsonl"}],
        "pairs": [500, 4000],
        "heads": [
            {"name": "linear"},
            {"name": "mlp"},
            {"name": "inform", "options": {"members": 5}},
            {"name": "inform", "options": {"members": 5}, "title": "inform beta=0.1", "tuned": False},
            {"name": "ensemble"},
            {"name": "brme", "rules": ["mean"]},
        ],
        "rules": [
            {"name": "mean"},
            {"name": "worst_case"},
            {"name": "robust", "title": "robust ρ=0.5"},
        ],
        "kl_points": 13,
        "detection": {"heads": ["mlp", "inform"], "points": 7},
        "rl": {"heads": ["mlp", "inform"], "dataset": "world", "seeds": [0, 1], "steps": 30, "batch": 16},
    }
    return parse(values | changes)


def gold(kl: Array, head: str, *, bias: float, flips: float, strength: float = 1.0) -> Array:
    """Return the planted gold gain `(k,)` at KLs."""
    a, b, c = HEADS[head]
    return np.asarray(a * np.sqrt(kl) - strength * (b * bias + c * flips * 4) * kl)


def results(*, prompts: int = 36, runs: bool = True) -> Results:
    """Return the simulated study."""
    asked = config()
    rng = np.random.default_rng(0)
    worth = {data.name: rng.normal(scale=0.4, size=(prompts, 1)) for data in asked.datasets}  # a prompt's own level
    rows = [_control(asked, data.name, name, worth[data.name], rng) for data in asked.datasets for name in CONTROLS]
    for data in asked.datasets:
        for pairs in asked.pairs:
            for mechanism in asked.mechanisms if data.kind == "world" else ["fair"]:
                for flips in asked.flips:
                    for head in asked.titles:
                        for seed in asked.seeds:
                            cell = Cell("fit", data.name, head, pairs, mechanism, flips, seed)
                            rows.append(_fit(asked, cell, worth[data.name], rng))
    rows += [_tuning(data.name, head, flips) for data in asked.datasets for head in TUNED for flips in asked.flips]
    if runs and asked.rl:
        rows += [_run(asked, head, seed, rng) for head in asked.rl.heads for seed in asked.rl.seeds]
    environment = {
        "versions": {"embrm": "0.1.0", "numpy": "2.3.0", "torch": "2.9.0"},
        "processor": "two cores",
        "workers": 2,
        "seconds": 412.5,
    }
    failures = {"answers: fit of brme, 500 pairs, fair, flips 0.25, seed 2": f"did not converge: {HOSTILE}"}
    return Results(asked, sorted(rows, key=lambda row: row.cell), failures, None, environment)


@cache
def _bias(mechanism: str) -> float:
    return config().mechanism(mechanism).bias


def bias_of(cell: Cell) -> float:
    """Return what the mechanisms of the configuration say of a cell."""
    return _bias(cell.mechanism)


CONTROLS = ("oracle", "length", "random")
TUNED = ("linear", "mlp", "inform")


def _axes(asked: StudyConfig) -> tuple[Array, Array]:
    n = np.array(asked.sizes, dtype=float)
    return np.linspace(0, asked.kl_end, asked.kl_points), np.log(n) - (n - 1) / n


def _control(asked: StudyConfig, dataset: str, name: str, worth: Array, rng: np.random.Generator) -> Row:
    kl, bon = _axes(asked)
    slope = {"oracle": 2.2, "length": 0.5, "random": 0.0}[name]
    arrays = {
        Metric("sizes"): np.array(asked.sizes, dtype=float),
        Metric("bon", "mean"): worth + slope * np.sqrt(bon) + 0 * rng.normal(size=(len(worth), 1)),
        Metric("path", "mean"): worth + slope * np.sqrt(kl),
    }
    for split in SPLITS:
        right = {"oracle": 1.0, "length": 0.55, "random": 0.5}[name]
        arrays[Metric("accuracy", split)] = np.clip(right + np.zeros(len(worth)), 0, 1)
    return Row(Cell("control", dataset, name), key_of(dataset, name), arrays=arrays)


def _fit(asked: StudyConfig, cell: Cell, worth: Array, rng: np.random.Generator) -> Row:
    kl, bon = _axes(asked)
    more = 0.8 + 0.2 * (cell.pairs > 1000)
    arrays = {Metric("sizes"): np.array(asked.sizes, dtype=float)}

    def noisy(mean: Array) -> Array:
        return np.asarray(worth + more * mean + rng.normal(scale=0.25, size=(len(worth), 1)) * np.sqrt(mean**2) * 0.5)

    rules = {"single": 1.1, "over": 1.2, "under": 1.05} | (
        {"mean": 1.0} if cell.head == "brme" else RULES if cell.head in ("inform", "ensemble") else {"mean": 1.0}
    )
    for rule, strength in rules.items():
        at = {"bias": bias_of(cell), "flips": cell.flips, "strength": strength}
        arrays[Metric("bon", rule)] = noisy(gold(bon, cell.head, **at))
        if rule not in ("over", "under"):
            arrays[Metric("path", rule)] = noisy(gold(kl, cell.head, **at))
            arrays[Metric("proxy", rule)] = 1.5 * np.sqrt(kl) + 0.3 * kl
            arrays[Metric("spread", rule)] = np.array([1.0, 2.0])
    if cell.seed == 2 and cell.flips == 0.25:
        arrays[Metric("path", "mean")][:, -2:] = np.nan  # this seed's pool gives out early
    for split, loss in zip(SPLITS, (0.0, 0.04, 0.1), strict=True):
        base = 0.86 - loss - 0.2 * cell.flips + 0.02 * (cell.pairs > 1000)
        arrays[Metric("accuracy", split)] = np.clip(base + rng.normal(scale=0.1, size=len(worth)), 0, 1)
    confidence = np.linspace(0.52, 0.98, 10)
    weight = np.full(10, 0.1)
    weight[3] = 0.0
    arrays[Metric("reliability")] = np.stack([confidence, confidence**1.1, weight])
    arrays[Metric("reliability")][:2, 3] = np.nan
    if cell.head in asked.detection.heads and cell.pairs == asked.detection.pairs:
        arrays |= _watched(asked, cell, rng)
    numbers = {"nll": 0.45, "ece": 0.04 + 0.05 * cell.flips, "brier": 0.15, "temperature": 1.2, "members": 5.0}
    numbers["members"] = 5.0 if cell.head in ("inform", "inform beta=0.1", "ensemble", "brme") else 1.0
    seconds = {"fit": 0.2 * len(cell.head) / 5, "measure": 0.1}
    return Row(cell, key_of(str(cell)), numbers, arrays, {"options": {"learning_rate": 0.01}}, seconds)


def _watched(asked: StudyConfig, cell: Cell, rng: np.random.Generator) -> dict[Metric, Array]:
    at = np.linspace(0, asked.kl_end, asked.detection.points)
    out = {
        Metric("points", "kl"): at,
        Metric("points", "gold"): gold(at, cell.head, bias=bias_of(cell), flips=cell.flips),
    }
    for space, level in (("latent", 0.85), ("joint", 0.78), ("pca", 0.72)):
        values = np.clip(level + rng.normal(scale=0.08, size=24), 0, 1)
        values[:4] = np.nan
        out[Metric("auroc", space=space)] = values
        for detector in asked.detection.detectors:
            out[Metric("watch", detector, space)] = at * (1 + level) + rng.normal(scale=0.05, size=len(at))
            if detector in ("mahalanobis", "mmd"):
                out[Metric("alarm", detector, space)] = np.exp(-3 * at * level) * rng.uniform(0.2, 1, size=len(at))
    return out


def _tuning(dataset: str, head: str, flips: float) -> Row:
    trials = [{"options": {"learning_rate": rate}, "nll": 0.6 - rate} for rate in (0.003, 0.01, 0.03)]
    trials.append({"options": {"learning_rate": 1e9}, "nll": None})
    notes = {"trials": trials, "best": {"name": head, "options": {"learning_rate": 0.03}}}
    cell = Cell("tuning", dataset, head, 1000, "fair", flips, 1000)
    return Row(cell, key_of(str(cell)), notes=notes, seconds={"fit": 0.6})


def _run(asked: StudyConfig, head: str, seed: int, rng: np.random.Generator) -> Row:
    assert asked.rl is not None
    steps, batch = asked.rl.steps, asked.rl.batch
    t = np.arange(steps) / steps
    kl = 4 * t**1.2
    true = gold(kl, head, bias=1.0, flips=0.25) - 0.2 * seed
    proxy = 0.4 + 1.5 * np.sqrt(kl) + 0.3 * kl
    drift = np.array([4.0, 1.5]) * (1.0 if head == "mlp" else 0.4)
    latent = rng.normal(size=(steps, batch, 2)) * 0.6 + t[:, None, None] * drift
    notes = {"attributes": ATTRIBUTES, "steps": [_step(i, kl[i], proxy[i], true[i], rng) for i in range(steps)]}
    arrays = {Metric("run", "kl"): kl, Metric("run", "gold"): true, Metric("run", "proxy"): proxy}
    arrays |= {Metric("cloud"): rng.normal(size=(400, 2)), Metric("latent"): latent}
    arrays |= {
        Metric("watch", name, "latent"): kl * 3 + rng.normal(scale=0.2, size=steps) for name in ("csi", "mahalanobis")
    }
    cell = Cell("rl", asked.rl.dataset, head, asked.rl.pairs, asked.rl.mechanisms[0], asked.rl.flips, seed)
    return Row(cell, key_of(str(cell)), arrays=arrays, notes=notes, seconds={"train": 21.0})


def _step(step: int, kl: float, proxy: float, true: float, rng: np.random.Generator) -> dict[str, Any]:
    means = np.array([2 + 0.01 * step, 0.4, 0.3 + 0.1 * step, 0.4 + 0.05 * step, 0.2 + 0.03 * step, 0.2])
    sample = []
    for i in range(4):
        counts = rng.poisson(means)
        words = [f"This is sentence {j} of what the policy says at step {step}." for j in range(int(counts.sum()))]
        text = " ".join([HOSTILE if i == 1 else "What a wonderful question!", *words])
        sample.append(
            {
                "prompt": f"How do I descale a kettle, version {i}?",
                "text": text,
                "counts": counts.tolist(),
                "proxy": proxy + float(rng.normal(scale=0.2)),
                "gold": true + float(rng.normal(scale=0.2)),
            }
        )
    named = dict(zip(ATTRIBUTES, means.tolist(), strict=True))
    return {"step": step, "kl": kl, "proxy": proxy, "gold": true, "means": named, "sample": sample}


def findings() -> list[Finding]:
    """Return one finding of every verdict on each data set."""
    effects: dict[ClaimVerdict, float] = {"supported": 0.9, "contradicted": -0.4, "inconclusive": 0.01}
    found = []
    for dataset in ("world", "answers"):
        for i, (verdict, effect) in enumerate(effects.items(), start=1):
            low, high = (effect - 0.03, effect + 0.03) if verdict == "inconclusive" else (effect - 0.3, effect + 0.3)
            claim = "A standard reward model over-optimises: gold falls from its peak while the proxy rises"
            interval = (effect, low, high)
            about = (f"C{i}", claim, "Gao et al. 2210.10760", dataset, *interval, 24, 3, verdict, f"Drop: {HOSTILE}.")
            shown = verdict if i < 3 else "inconclusive"
            place: dict[str, Any] = {"mechanism": "biased", "channel": "path", "smallest": 0.2}
            found.append(Finding(*about, detectable=0.2, p=0.01, holm=shown, needed=1.5, **place))
            if i == 1:  # a standard reward that is hacked, and undecided in the other channel
                place["channel"] = "bon"
                found.append(Finding(*about, detectable=0.2, p=0.04, holm="inconclusive", needed=2.5, **place))
        absent = (None, None, None, 0, 0)
        why = "Not run: no second embedder."
        defence: dict[str, Any] = {"mechanism": "biased", "channel": "path", "defence": "bottleneck", "smallest": 0.1}
        helped = ("C21", "A defence helps", "us", dataset, 0.5, 0.3, 0.7, 24, 3)
        found.append(Finding(*helped, "supported", f"Gold: {HOSTILE}.", p=0.001, holm="supported", **defence))
        found.append(Finding("C15", "Diverse ensembles beat others", "Eisenstein", dataset, *absent, "not run", why))
    return found


def titled(head: str, title: str) -> Results:
    """Return the simulated results with another title of a head."""
    found = results()
    heads = [h.model_copy(update={"title": title}) if h.title == head else h for h in found.config.heads]
    rl = found.config.rl and found.config.rl.model_copy(update={"heads": [title, "inform"]})
    rows = [replace(row, cell=replace(row.cell, head=title)) if row.cell.head == head else row for row in found.rows]
    return replace(found, config=found.config.model_copy(update={"heads": heads, "rl": rl}), rows=rows)
