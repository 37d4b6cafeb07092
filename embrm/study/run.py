"""The study on the shipped world: train heads, follow them to where they are hacked, see whether a detector notices."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from embrm import bestofn, detectors
from embrm.heads import Head
from embrm.heads._head import FittedHead
from embrm.intervals import Interval, bootstrap
from embrm.overoptimisation import Peak, peak
from embrm.study.config import HeadConfig, StudyConfig
from embrm.types import Array, Candidates, Pairs, Problem
from embrm.world import shipped

SIZES = (1, 2, 4, 8, 16, 32, 64, 128)
SPLITS: tuple[Literal["in", "topics", "counts"], ...] = ("in", "topics", "counts")
OUTPUTS = 400  # texts drawn from the policy for the detector


@dataclass(frozen=True, eq=False)
class Line:
    """What one scorer of the table does, over all seeds.

    Attributes:
        name: the head's title, or "oracle", "length", "random".
        seconds: to train one seed's model, or None for a control.
        accuracy: split → pair accuracy with its interval over prompts.
        best_of: `(sizes, ...)` gold of the best of n, with intervals over prompts and seeds.
        kl: `(points,)` nats along the path of KL-regularised optima, as far as the pool is reliable.
        gold: `(points,)` gold along that path.
        proxy: `(points,)` proxy along it, in standard deviations under the reference policy.
        peak: cross-fitted peak and drop of gold along the path, or None for "random".
        alarms: detector → share of the seeds in which it calls the policy's texts at (start, end) of the path unlike
            the training texts; empty for controls.
    """

    name: str
    seconds: float | None
    accuracy: Mapping[str, Interval]
    best_of: Interval
    kl: Array
    gold: Interval | None
    proxy: Array | None
    peak: Peak | None
    alarms: Mapping[str, tuple[float, float]]


@dataclass(frozen=True, eq=False)
class Study:
    """A finished study.

    Attributes:
        config: what was run.
        lines: one a head, then the controls.
        seconds: in all.
        versions: of what it ran with.
    """

    config: StudyConfig
    lines: list[Line]
    seconds: float
    versions: Mapping[str, str]


@dataclass(frozen=True, eq=False)
class _Data:
    world: shipped.Shipped
    tests: Mapping[str, Pairs]
    pools: Candidates
    proposals: Candidates
    pairs: list[Pairs]  # one a seed


# What a scorer says of rows of features: one array a seed.
_Scores = Callable[[Candidates | Pairs], list[Array]]


def run(config: StudyConfig, *, progress: Callable[[str], None] = lambda _: None) -> Study:
    """Run the study and return all that a report needs.

    Args:
        config: see `embrm.study.config`.
        progress: told what is being done, one line at a time.
    """
    from importlib.metadata import version

    start = time.perf_counter()
    progress("reading the shipped data")
    data = _read(config)
    lines = []
    for head in config.heads:
        progress(f"training {head.title} on {len(config.seeds)} seeds, following it along its path")
        lines.append(_head(config, head, data))
    progress("controls")
    lines += _controls(config, data)
    versions = {name: version(name) for name in ("embrm", "numpy", "torch", "pyro-ppl", "scikit-learn")}
    return Study(config, lines, time.perf_counter() - start, versions)


def _read(config: StudyConfig) -> _Data:
    world = shipped.load(config.embedder)
    pairs = [
        world.preferences(bias=config.bias, flips=config.flips, pairs=config.pairs, seed=seed) for seed in config.seeds
    ]
    tests: dict[str, Pairs] = {split: world.test_pairs(split) for split in SPLITS}
    return _Data(world, tests, world.pools(), world.proposals(), pairs)


def _head(config: StudyConfig, head: HeadConfig, data: _Data) -> Line:
    recipe = Head.of({"head": head.name, "options": head.options})
    begin = time.perf_counter()
    models = recipe.fit_many([Problem(p, seed) for p, seed in zip(data.pairs, config.seeds, strict=True)])
    seconds = (time.perf_counter() - begin) / len(models)

    def scores(what: Candidates | Pairs) -> list[Array]:
        return [model.score(what.features).mean for model in models]

    kl, gold, proxy, weights = _path(data, scores(data.proposals), config.kl_points)
    return Line(
        head.title,
        seconds,
        _accuracy(data, scores),
        _best_of(data, scores(data.pools)),
        kl,
        bootstrap(gold, seed=0, two_way=True),
        proxy,
        peak(gold, seed=0),
        _alarms(config, data, models, weights),
    )


def _controls(config: StudyConfig, data: _Data) -> list[Line]:
    """Return the lines of the oracle, of length, and of a random choice."""
    none = np.empty(0)
    lines = []
    for name in ("oracle", "length"):

        def scores(what: Candidates | Pairs, name: str = name) -> list[Array]:
            length = what.features.length
            assert length is not None
            if name == "length":
                return [length]
            if isinstance(what, Candidates):
                assert what.gold is not None
                return [what.gold]
            truth = np.zeros(len(what.features))  # the test pairs are labelled by gold: any order that obeys it
            truth[what.chosen] = 1.0
            return [truth]

        accuracy = _accuracy(data, scores)
        if name == "oracle":
            accuracy = {split: _constant(1.0, len(pairs)) for split, pairs in data.tests.items()}
        best = _best_of(data, scores(data.pools))
        kl, gold, proxy, _ = _path(data, scores(data.proposals), config.kl_points)
        lines.append(
            Line(name, None, accuracy, best, kl, bootstrap(gold[:, 0], seed=0), proxy, peak(gold[:, 0], seed=0), {})
        )
    half = {split: _constant(0.5, len(pairs)) for split, pairs in data.tests.items()}
    assert data.pools.gold is not None
    mean = np.array([g.mean() for g in np.split(data.pools.gold, data.pools.offsets[1:-1])])
    best = bootstrap(np.repeat(mean[:, None], len(SIZES), axis=1), seed=0)
    lines.append(Line("random", None, half, best, none, None, None, None, {}))
    return lines


def _constant(value: float, n: int) -> Interval:
    return Interval(np.array(value), np.array(value), np.array(value), n, 0.95)


def _accuracy(data: _Data, scores: _Scores) -> dict[str, Interval]:
    """Return pair accuracy on each split, the mean over seeds, with its interval over prompts."""
    out = {}
    for split, pairs in data.tests.items():
        margin = [s[pairs.chosen] - s[pairs.rejected] for s in scores(pairs)]
        hit = 0.5 + 0.5 * np.sign(np.stack(margin)).mean(axis=0)
        prompt = np.unique(pairs.prompt, return_inverse=True)[1]
        sums = np.stack([np.bincount(prompt, weights=hit), np.bincount(prompt).astype(float)], axis=1)
        out[split] = bootstrap(sums, seed=0, statistic=lambda m: m[..., 0] / m[..., 1])
    return out


def _best_of(data: _Data, proxies: list[Array]) -> Interval:
    """Return gold of the best of n `(sizes,)` with its interval over prompts and seeds."""
    pools = data.pools
    assert pools.gold is not None
    curves = [bestofn.curve(p, pools.gold, SIZES, offsets=pools.offsets).gold_per_prompt for p in proxies]
    per_seed = np.stack(curves, axis=1)
    return bootstrap(per_seed, seed=0, two_way=True) if len(curves) > 1 else bootstrap(per_seed[:, 0], seed=0)


def _path(data: _Data, proxies: list[Array], points: int) -> tuple[Array, Array, Array, list[tuple[Array, Array]]]:
    """Return KL `(k,)`, gold `(prompts, seeds, k)`, proxy `(k,)` along the tilt path, and its weights at both ends.

    Every seed's path has its own KLs: all are read off at the same ones, as far as the shortest reliable path reaches.
    """
    pools = [data.world.proposal_pool(p) for p in proxies]
    paths = [pool.path() for pool in pools]
    axes = [path.kl[: path.end + 1].mean(axis=1) for path in paths]
    kl = np.linspace(0, min(axis[-1] for axis in axes), points)
    gold, proxy, ends = [], [], []
    for pool, path, axis in zip(pools, paths, axes, strict=True):
        assert path.gold is not None
        reached = path.gold[: path.end + 1]
        gold.append(np.stack([np.interp(kl, axis, column) for column in reached.T]))
        level = path.proxy[: path.end + 1].mean(axis=1)
        sd = float(np.sqrt(np.gradient(level, path.inverse_beta[: path.end + 1])[0]))  # d E[r] / d(1/β) = var r
        proxy.append(np.interp(kl, axis, (level - level[0]) / sd))
        at = float(np.interp(kl[-1], axis, path.inverse_beta[: path.end + 1]))
        ends.append((pool.weights(0.0), pool.weights(at)))
    return kl, np.stack(gold, axis=1), np.mean(proxy, axis=0), ends


def _alarms(
    config: StudyConfig, data: _Data, models: list[FittedHead], weights: list[tuple[Array, Array]]
) -> dict[str, tuple[float, float]]:
    """Return, for each detector, the share of seeds with a p-value of at most alpha at both ends of the path.

    Detectors read each model's latent and know only training texts, as a user would have it.
    """
    proposals = data.proposals
    rang = np.zeros((len(config.detectors), len(models), 2))
    for k, (model, pairs, ends, seed) in enumerate(zip(models, data.pairs, weights, config.seeds, strict=True)):
        rng = np.random.default_rng([seed, 2])
        reference = np.unique(np.concatenate([pairs.chosen, pairs.rejected]))
        latent, prompt = model.latent(pairs.features.take(reference)), pairs.features.prompt[reference]
        drawn = [proposals.features.take(rng.choice(w.size, size=OUTPUTS, p=w.ravel() / w.sum())) for w in ends]
        for d, name in enumerate(config.detectors):
            fitted = detectors.get(name)(alpha=config.alpha).fit(latent, prompt=prompt, seed=seed)
            for e, outputs in enumerate(drawn):
                verdict = fitted.check(model.latent(outputs), prompt=outputs.prompt)
                rang[d, k, e] = verdict.details["p_value"] <= config.alpha
    return {name: (float(a), float(b)) for name, (a, b) in zip(config.detectors, rang.mean(axis=1), strict=True)}


def rows(study: Study) -> list[dict[str, Any]]:
    """Return the results as a long table: scorer, metric, place (split, n or KL), value, low, high."""
    out: list[dict[str, Any]] = []

    def add(line: Line, metric: str, place: object, interval: Interval) -> None:
        numbers = {k: float(getattr(interval, k)) for k in ("estimate", "low", "high")}
        out.append({"scorer": line.name, "metric": metric, "place": str(place), **numbers})

    for line in study.lines:
        for split, interval in line.accuracy.items():
            add(line, "pair_accuracy", split, interval)
        for i, n in enumerate(SIZES):
            add(line, "best_of_n_gold", n, line.best_of[i])
        if line.gold is not None:
            for i, kl in enumerate(line.kl):
                add(line, "tilt_gold", round(float(kl), 4), line.gold[i])
        if line.peak is not None:
            add(line, "peak_gain", "", line.peak.gain)
            add(line, "drop", "", line.peak.drop)
        for detector, shares in line.alarms.items():
            for end, share in zip(("start", "end"), shares, strict=True):
                out.append({"scorer": line.name, "metric": f"alarms_{detector}", "place": end, "estimate": share})
    return out
