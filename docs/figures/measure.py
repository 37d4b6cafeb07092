"""What the site's figures show, measured in the world and written to measured.json.

    python docs/figures/measure.py && python docs/figures/draw.py

Numbers are means over SEEDS, rounded to what a figure can show; three minutes on two cores. With names of figures, only
those are measured anew.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np

from embrm import bestofn, detectors, heads
from embrm.core.arrays import Array
from embrm.core.data import Pairs
from embrm.data import under
from embrm.evaluation.probes import MEANINGS as PROBES
from embrm.evaluation.stress import StressTexts
from embrm.evaluation.stress import stress as stressed
from embrm.heads import FittedHead
from embrm.study import experiments
from embrm.study.datasets import DatasetConfig, open_dataset
from embrm.study.datasets.world import WorldData
from embrm.study.experiments import Experiment, ExperimentSetting
from embrm.study.experiments.principle import PrincipleAdded
from embrm.study.experiments.self_training import UnlabelledPairs
from embrm.study.measures.gold import value_path
from embrm.world import Mechanism, shipped
from embrm.world.principles import find_principle, told_pairs

HERE = Path(__file__).resolve().parent
SEEDS = (0, 1, 2)
RELIABLE = np.linspace(0.0, 2.5, 11)  # where heads that read a principle are followed
FEW = SEEDS[:2]  # where a fit is long
KL = np.linspace(0.0, 3.5, 15)
LEVEL = 0.01  # of an alarm
SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
MECHANISMS = {
    "fair annotators": Mechanism(),
    "biased annotators": Mechanism(bias=1.0),
    "confounded texts": Mechanism(confounding=2.0),
    "narrow coverage": Mechanism(coverage=0.3, unseen=("padding",)),
}
FAIR, BIASED, CONFOUNDED, _ = MECHANISMS
LABELS = (250, 500)
LEARNERS = {"labels": "labels alone", "plain": "plain self-training", "consistent": "two views that agree"}


class World:
    """The shipped world, with the pairs and fits that several figures share."""

    def __init__(self) -> None:
        self.data = shipped.load("minilm")
        self.proposals = self.data.proposals()
        self._fits: dict[tuple[str, str, float, int], tuple[Pairs, FittedHead]] = {}

    def fit(self, head: str, mechanism: str, seed: int, beta: float = 0.0) -> tuple[Pairs, FittedHead]:
        """Return training pairs with a quarter of their labels flipped, and a head fitted to them."""
        key = (head, mechanism, beta, seed)
        if key not in self._fits:
            pairs = self.data.preferences(MECHANISMS[mechanism], flips=0.25, pairs=2000, seed=seed)
            recipe = heads.get(head)(**({"beta": beta} if beta else {}))
            self._fits[key] = pairs, recipe.fit(pairs, seed=seed)
        return self._fits[key]

    def path(self, model: FittedHead) -> tuple[Array, Array]:
        """Return proxy and gold at `KL` along the path of the policies that trade the proxy against KL."""
        path = self.data.proposal_pool(model.score(self.proposals.features).mean).path()
        kl, proxy, gold = (getattr(path, name).mean(axis=1) for name in ("kl", "proxy", "gold"))
        return np.interp(KL, kl, proxy), np.interp(KL, kl, gold)

    def gold(self, head: str, mechanism: str, beta: float, seed: int) -> Array:
        """Return gold at `KL` along a head's path."""
        return self.path(self.fit(head, mechanism, seed, beta)[1])[1]


def turning(world: World) -> dict[str, Any]:
    """Measure proxy, in standard deviations of the reference policy, and gold along KL, annotators biased."""
    scale = []
    for seed in SEEDS:
        model = world.fit("mlp", BIASED, seed)[1]
        sd = float(np.std(model.score(world.data.pools().features).mean))
        proxy, gold = world.path(model)
        scale.append(((proxy - proxy[0]) / sd, gold))
    proxy, gold = np.mean(scale, axis=0)
    return {"kl": listed(KL), "proxy": listed(proxy), "gold": listed(gold)}


def mechanisms(world: World) -> dict[str, Any]:
    """Measure gold along KL under each mechanism."""
    means = {name: _mean(world.gold, "mlp", name, 0.0) for name in MECHANISMS}
    return {"kl": listed(KL), "gold": {name: listed(mean) for name, mean in means.items()}}


def accuracy(world: World) -> dict[str, Any]:
    """Measure the share of clean pairs that heads order correctly, near the training texts and away from them."""
    splits: dict[Literal["in", "topics", "counts"], str] = {
        "in": "same topics",
        "topics": "new topics",
        "counts": "new amounts of style",
    }

    def right(head: str, mechanism: str, seed: int) -> Array:
        model, found = world.fit(head, mechanism, seed)[1], []
        for split in splits:
            test = world.data.test_pairs(split)
            reward = model.score(test.features).mean
            found.append((reward[test.chosen] > reward[test.rejected]).mean())
        return np.array(found)

    heads_ = ("linear", "mlp", "inform")
    rows = {(mechanism, head): _mean(right, head, mechanism) for mechanism in (FAIR, BIASED) for head in heads_}
    return {
        "rows": [
            {"annotators": mechanism, "head": head, "pairs": pairs, "accuracy": round(float(value), 3)}
            for (mechanism, head), values in rows.items()
            for pairs, value in zip(splits.values(), values, strict=True)
        ]
    }


def best_of_n(world: World) -> dict[str, Any]:
    """Measure the gold of the best of n, exactly, for the standard head under two kinds of annotators."""
    pools = world.data.pools()
    gold = pools.gold
    assert gold is not None

    def curve(score: Array) -> Array:
        return bestofn.curve(score, gold, SIZES, offsets=pools.offsets).gold

    def of_head(mechanism: str, seed: int) -> Array:
        return curve(world.fit("mlp", mechanism, seed)[1].score(pools.features).mean)

    lines = {"gold itself": curve(gold), **{name: _mean(of_head, name) for name in (FAIR, BIASED)}}
    return {"n": list(SIZES), "gold": {name: listed(line) for name, line in lines.items()}}


def detection(world: World) -> dict[str, Any]:
    """Measure a two-sample detector's statistic along KL, and where it is an alarm, under two kinds of annotators."""
    rows = []
    for name in (FAIR, BIASED):
        pairs, model = world.fit("mlp", name, SEEDS[0])
        known = pairs.features.take(np.unique(np.concatenate([pairs.chosen, pairs.rejected])))
        fitted = detectors.get("mmd")().fit(model.latent(known), prompt=known.prompt)
        pool = world.data.proposal_pool(model.score(world.proposals.features).mean)
        path, rng = pool.path(), np.random.default_rng(0)
        kl, gold = path.kl.mean(axis=1), path.gold.mean(axis=1)
        for at in KL[::2]:
            point = int(np.argmin(np.abs(kl - at)))
            weight = pool.weights(path.inverse_beta[point]).ravel()
            outputs = world.proposals.features.take(rng.choice(len(weight), size=400, p=weight / weight.sum()))
            verdict = fitted.check(model.latent(outputs), prompt=outputs.prompt)
            found = {"kl": kl[point], "gold": gold[point], "statistic": verdict.statistic}
            alarm = "alarm" if verdict.details["p_value"] <= LEVEL else "none"
            rows.append({"annotators": name, "alarm": alarm, **{key: round(float(x), 3) for key, x in found.items()}})
    return {"rows": rows}


def bottleneck(world: World) -> dict[str, Any]:
    """Measure gold along KL of the standard head and of a narrow bottleneck, where two mechanisms deceive them."""
    recipes = {"mlp": ("mlp", 0.0), "bottleneck, β = 0.03": ("inform", 0.03)}
    rows = []
    for mechanism in (BIASED, CONFOUNDED):
        for title, (head, beta) in recipes.items():
            mean = _mean(world.gold, head, mechanism, beta)
            rows += [
                {"mechanism": mechanism, "head": title, "kl": round(float(kl), 2), "gold": round(float(gold), 3)}
                for kl, gold in zip(KL, mean, strict=True)
            ]
    return {"rows": rows}


def steps(world: World) -> dict[str, Any]:
    """Measure how often what is chosen among responses in steps makes no wrong statement, on a small fast world."""
    size = {"topics": 52, "stock": 192, "pool": 2, "stratum": 1, "refinements": 0}
    data = open_dataset(DatasetConfig(name="fast", kind="fast", embedder="static", options=size))
    recipe = experiments.get("steps")()
    found = [recipe.measure(ExperimentSetting(data, MECHANISMS[FAIR], 0.0, 2000, seed)) for seed in SEEDS]
    named = {
        "any response": "random",
        "best of 16 by the outcome reward": "outcome",
        **{f"best of 16 by steps: {how}": how for how in bestofn.AGGREGATIONS},
        "best of 7 by steps: min": "whole",
        "search by steps, as many texts": "search",
    }
    share = {title: float(np.mean([each[name].values.mean() for each in found])) for title, name in named.items()}
    return {"rows": [{"choice": title, "right": round(value, 3)} for title, value in share.items()]}


def annotators(world: World) -> dict[str, Any]:
    """Return the worst-off population's gain by rules, where one population judged a twenty-fifth of the pairs."""
    names = {rule: rule for rule in ("utilitarian", "egalitarian", "nash")}
    names |= {f"{rule}, lower bound": f"{rule} sure" for rule in names}
    found = _experiment("annotators", flips=0.25, seeds=3)
    return {"rows": [{"rule": title, "gain": found[name]} for title, name in names.items()]}


def inverse(world: World) -> dict[str, Any]:
    """Return how three models order held-out responses as the reward behind a tuned policy does."""
    names = {"maximum entropy": "entropy", "maximum margin": "margin", "trained on its labels": "labels"}
    found = _experiment("inverse", flips=0.0, seeds=1)
    return {"rows": [{"model": title, "accuracy": found[name]} for title, name in names.items()]}


def _experiment(name: str, *, flips: float, seeds: int) -> dict[str, float]:
    """Return the means of an experiment on the fast world, with seeds that are no study's."""
    data = open_dataset(DatasetConfig(name="fast", kind="fast", embedder="static"))
    settings = [ExperimentSetting(data, Mechanism(), flips, 2000, 100 + seed) for seed in range(seeds)]
    found = [Experiment.of(name).measure(setting) for setting in settings]
    return {key: listed(np.array([np.mean([each[key].values.mean() for each in found])]))[0] for key in found[0]}


def principle(world: World) -> dict[str, Any]:
    """Measure gold along KL without a principle, under one in wordings that no training row has, and its negation."""
    data, told = _fast(pool=48, stratum=16, refinements=2), find_principle("no-flattery")
    recipe = PrincipleAdded().head

    def gold(model: FittedHead) -> Array:
        path, last, _ = value_path(data, model.score(data.features).mean)
        return np.asarray(np.interp(RELIABLE, path.kl[:last].mean(axis=1), path.gold[:last].mean(axis=1)))

    def lines(seed: int) -> Array:
        how: dict[str, Any] = {"flips": 0.25, "pairs": 8000, "seed": seed}
        plain = recipe.fit(data.train(mechanism=MECHANISMS[BIASED], **how), seed=seed)
        pairs = told_pairs(data.world, MECHANISMS[BIASED], embedder=data.embedder(), **how)
        model = dataclasses.replace(recipe, view="joint+principle").fit(pairs, seed=seed)
        sides = (told.held_out, told.negation.held_out)
        asked = [[gold(under(model, text, embedder=data.embedder())) for text in side] for side in sides]
        return np.array([gold(plain), *(np.mean(each, axis=0) for each in asked)])

    names = ("no principle", "do not flatter", "flatter")
    return {"kl": listed(RELIABLE), "gold": dict(zip(names, map(listed, _mean(lines, seeds=FEW)), strict=True))}


def self_training(world: World) -> dict[str, Any]:
    """Measure accuracy on new prompts by the number of labels, with and without 4 000 unlabelled pairs."""
    data = _fast(topics=52, pool=32, stratum=1, refinements=0)

    def shares(labels: int, seed: int) -> Array:
        found = UnlabelledPairs().measure(ExperimentSetting(data, MECHANISMS[FAIR], 0.0, labels, seed))
        return np.array([found[name].values.mean() for name in LEARNERS])

    rows = {labels: _mean(shares, labels, seeds=FEW) for labels in LABELS}
    return {
        "rows": [
            {"labels": labels, "learner": title, "accuracy": round(float(value), 3)}
            for labels, values in rows.items()
            for title, value in zip(LEARNERS.values(), values, strict=True)
        ]
    }


def stress(world: World) -> dict[str, Any]:
    """Measure how often the standard head accepts each change of a text, under two kinds of annotators."""
    data, texts = _fast(pool=2, stratum=1, refinements=0), StressTexts.shipped()

    def accepted(mechanism: str, seed: int) -> Array:
        pairs = data.train(mechanism=MECHANISMS[mechanism], flips=0.25, pairs=2000, seed=seed)
        model = heads.get("mlp")().fit(pairs, seed=seed)
        report = stressed(model, texts, embedder=data.embedder(), draws=20)
        return np.array([float(report.probes[name].acceptance.estimate) for name in PROBES])

    found = {mechanism: _mean(accepted, mechanism) for mechanism in (FAIR, BIASED)}
    rows = [
        {"annotators": mechanism, "probe": name, "accepted": share}
        for mechanism, shares in found.items()
        for name, share in zip(PROBES, listed(shares), strict=True)
    ]
    return {"rows": rows}


def _fast(**size: int) -> WorldData:
    config = DatasetConfig(name="fast", kind="fast", embedder="static", options=size)
    return cast("WorldData", open_dataset(config))


def _mean(of: Callable[..., Array], *what: str | float, seeds: Sequence[int] = SEEDS) -> Array:
    return np.asarray(np.mean([of(*what, seed) for seed in seeds], axis=0))


def listed(values: Array) -> list[float]:
    """Return numbers as they are written."""
    return [round(float(value), 3) for value in values]


FIGURES: Mapping[str, Callable[[World], dict[str, Any]]] = {
    figure.__name__: figure
    for figure in (
        *(turning, mechanisms, accuracy, best_of_n, detection, bottleneck),
        *(steps, annotators, inverse, principle, self_training, stress),
    )
}


def main() -> None:
    """Measure what all figures show."""
    parser = argparse.ArgumentParser(description="Measure what the site's figures show.")
    parser.add_argument("names", nargs="*", choices=[*FIGURES, []], help="which; all unless given")
    names = parser.parse_args().names or list(FIGURES)
    world, before = World(), json.loads((HERE / "measured.json").read_text(encoding="utf-8"))
    found = {name: figure(world) if name in names else before[name] for name, figure in FIGURES.items()}
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(value, ensure_ascii=False)}" for name, value in found.items())
    (HERE / "measured.json").write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")


if __name__ == "__main__":
    main()
