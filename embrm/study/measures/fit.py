"""What is measured of a fitted head.

A row's arrays are named by `embrm.study.metric.Metric`, whose `FAMILIES` say what each holds. Rows of kind "fit" hold
accuracy, reliability, and with gold sizes, bon, path, proxy and spread; where detectors look also auroc, points, watch
and alarm. Their numbers: nll, ece, brier, temperature, members (posterior draws are one), and what `Dataset.seen` says;
their note `typical`, with gold: see `typical_responses`. Rows of kind "control" (oracle, length, random) hold accuracy,
sizes, and bon and path of the rule "mean". Rows of kind "rl" hold run, watch, alarm, cloud and latent, and the note
`steps`: one mapping a step with its sampled texts. Rows of kind "tuning" hold the notes `trials` and `best`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from embrm import bestofn, selectors
from embrm.bestofn import TiltPath, tilt_path
from embrm.core.arrays import Array, IntArray
from embrm.core.data import Pairs
from embrm.core.recipe import make
from embrm.core.results import Reward
from embrm.errors import DataError
from embrm.evaluation.imitation import imitation_penalty
from embrm.heads import FittedHead
from embrm.metrics.calibration import calibration_report, tempered
from embrm.selectors import Selector, ValueRule
from embrm.selectors.mean import Mean
from embrm.study.config import HeadConfig, StudyConfig
from embrm.study.datasets import Dataset
from embrm.study.measures.detection import Sides, aurocs, latent_distance, path_detection
from embrm.study.measures.gold import value_path
from embrm.study.measures.typical import typical_responses
from embrm.study.metric import Metric
from embrm.study.results import Cell, Row

MISSCORED = 0.1  # share of the responses that are scored too high or too low
FIXED_KL = 2.0  # nats, at which the mean reward's policy sets the β of `spread`


@dataclass(frozen=True)
class FitCell:
    """Which row is wanted of a fitted head.

    Attributes:
        head: its part of the configuration.
        cell: what the row is about.
        key: the row's name.
    """

    head: HeadConfig
    cell: Cell
    key: str


def measure(
    config: StudyConfig,
    data: Dataset,
    model: FittedHead,
    wanted: FitCell,
    *,
    training: Pairs,
    temperature: float,
    seconds: Mapping[str, float],
) -> Row:
    """Return the row of a fitted head.

    Args:
        config: which rules, sizes and detectors.
        data: what it is measured on.
        model: the fitted head.
        wanted: the row.
        training: the pairs it was fitted on, whose texts are the detectors' reference.
        temperature: from tuning.
        seconds: of the fit.

    Raises:
        DataError: the configuration asks for a rule that this head's reward does not allow.
    """
    head, cell = wanted.head, wanted.cell
    reward = model.score(data.features).centred()
    first = next(iter(data.tests.values()))
    found = calibration_report(tempered(reward, temperature), first)
    numbers = {name: float(getattr(found, name)) for name in ("nll", "ece", "brier")}
    members = len(reward.draws) if reward.kind == "members" else 1
    numbers |= {"temperature": temperature, "members": float(members), **_seen(config, data, cell)}
    arrays = accuracies(data, reward.mean)
    arrays[Metric("reliability")] = np.stack([found.confidence, found.accuracy, found.weight])
    notes = {}
    if data.gold is not None:
        sides = Sides(data, model, training)
        rules = list(_rules(config, head, reward, _penalties(config, head, sides)))
        arrays |= _best_of_n(config, data, rules, reward, seed=cell.seed)
        plain = optimum_path(config, data, reward.mean)
        arrays |= _optimum_paths(config, data, rules, reward, plain)
        notes["typical"] = typical_responses(data, plain.path, reward.mean, kl_end=config.kl_end)
        arrays |= _branches(config, data, model)
        if config.detection.watches(head.title, pairs=cell.pairs, mechanism=cell.mechanism, flips=cell.flips):
            arrays |= aurocs(sides, reward.mean)
            arrays |= path_detection(config.detection, sides, reward.mean, seed=cell.seed)
    return Row(cell, wanted.key, numbers, arrays, notes, seconds)


def _seen(config: StudyConfig, data: Dataset, cell: Cell) -> Mapping[str, float]:
    return data.seen(mechanism=config.mechanism(cell.mechanism), pairs=cell.pairs, seed=cell.seed)


def control(config: StudyConfig, data: Dataset, cell: Cell, key: str) -> Row:
    """Return the row of what the cell's head names: the oracle, the longest response, or a random one."""
    length = data.features.length
    assert length is not None
    gold = np.nan_to_num(data.gold) if data.gold is not None else np.zeros(len(length))
    value = {"oracle": gold, "length": length, "random": np.zeros(len(length))}[cell.head]
    arrays = accuracies(data, value) | clusters(data)
    if cell.head == "oracle":  # the labels of test pairs are the gold's, and ties among them fall by a coin
        arrays |= {name: np.ones_like(share) for name, share in arrays.items() if name.family == "accuracy"}
    if data.gold is not None:
        n = sizes(config, data)
        rows = data.pool_rows
        curve = bestofn.curve(value[rows], gold[rows], n, offsets=data.pool_offsets)
        arrays |= {Metric("sizes"): n.astype(np.float64), Metric("bon", "mean"): curve.gold_per_prompt}
        if cell.head == "random":
            start = tilt_path(data.log_weight, value[data.path_rows], gold[data.path_rows], inverse_beta=[0.0])
            arrays[Metric("path", "mean")] = np.repeat(start.gold[0][:, None], config.kl_points, axis=1)
        else:
            arrays[Metric("path", "mean")] = optimum_path(config, data, value).gold
    return Row(cell, key, arrays=arrays)


def clusters(data: Dataset) -> dict[Metric, Array]:
    """Return which cluster each prompt belongs to: of every split, and of the pools and paths where there are any."""
    rows = {split: pairs.chosen[np.unique(pairs.prompt, return_index=True)[1]] for split, pairs in data.tests.items()}
    if data.gold is not None:
        rows |= {"pool": data.pool_rows[data.pool_offsets[:-1]], "path": data.path_rows[:, 0]}
    return {Metric("clusters", name): data.cluster(of).astype(np.float64) for name, of in rows.items()}


def sizes(config: StudyConfig, data: Dataset) -> IntArray:
    """Return the n of best-of-n: those asked for, as far as the smallest pool goes, and that pool itself."""
    smallest = int(np.diff(data.pool_offsets).min())
    return np.unique([min(n, smallest) for n in config.sizes])


def accuracies(data: Dataset, value: Array) -> dict[Metric, Array]:
    """Return the accuracy `(prompts,)` of a reward `(m,)` on every split; equal rewards count one half.

    Pairs count by their weights: of several annotators each has a share of a pair.
    """
    out: dict[Metric, Array] = {}
    for split, pairs in data.tests.items():
        hit = 0.5 + 0.5 * np.sign(value[pairs.chosen] - value[pairs.rejected])
        prompt = np.unique(pairs.prompt, return_inverse=True)[1]
        weight = np.ones(len(pairs)) if pairs.weight is None else pairs.weight
        total = np.bincount(prompt, weights=weight)
        out[Metric("accuracy", split)] = np.bincount(prompt, weights=hit * weight) / total
    return out


@dataclass(frozen=True, eq=False)
class OptimumPath:
    """The path of one value, read off at the study's KLs.

    Attributes:
        gold: `(T, K)`, NaN beyond what is reliable.
        proxy: `(K,)` the value's gain in sd under π_ref, NaN likewise.
        sd: the value's standard deviation under π_ref.
        path: itself, as far as that.
    """

    gold: Array
    proxy: Array
    sd: float
    path: TiltPath


def optimum_path(config: StudyConfig, data: Dataset, value: Array) -> OptimumPath:
    """Return gold and value of the KL-regularised optima of a value `(m,)`, read off at KL 0 to `kl_end`."""
    path, last, sd = value_path(data, value, until=max(config.kl_end, FIXED_KL))
    axis = path.kl[:last].mean(axis=1)
    at = np.linspace(0, config.kl_end, config.kl_points)
    level = path.proxy[:last].mean(axis=1)
    out = np.stack([np.interp(at, axis, column) for column in path.gold[:last].T])
    gain = np.interp(at, axis, (level - level[0]) / sd)
    beyond = at > axis[-1]
    out[:, beyond], gain[beyond] = np.nan, np.nan
    return OptimumPath(out, gain, sd, path)


def _rules(
    config: StudyConfig, head: HeadConfig, reward: Reward, penalties: Mapping[str, Array | None]
) -> Iterator[tuple[str, Selector, Array | None]]:
    """Yield title, rule and penalty of every rule that the reward allows."""
    for asked in config.rules_of(head):
        penalty = penalties.get(asked.penalty)
        if asked.penalty and penalty is None:
            continue
        rule: Selector = make(selectors.registry, asked.name, asked.options)
        if head.rules is None and reward.kind == "point" and isinstance(rule, ValueRule) and not isinstance(rule, Mean):
            continue  # of a single draw each of them is the mean
        try:  # on a single text: what matters is what the reward consists of
            rule(_rows(reward, np.arange(1)), penalty=None if penalty is None else penalty[:1], seed=0)
        except DataError as error:
            if head.rules is not None:
                raise DataError(f"head '{head.title}' with rule '{asked.label}': {error}") from None
            continue
        yield asked.label, rule, penalty


def _penalties(config: StudyConfig, head: HeadConfig, sides: Sides) -> Mapping[str, Array | None]:
    """Return what rules want subtracted of every text, by its name; None where the latent is the reward alone."""
    wanted, found = {rule.penalty for rule in config.rules_of(head)}, {}
    if "latent" in wanted:
        found["latent"] = latent_distance(sides)
    if "experts" in wanted:
        training, view = sides.training, next(iter(sides.model.widths))
        x, known = (features.matrix(view) for features in (sides.data.features, training.features))
        found["experts"] = imitation_penalty(x, experts=known[training.chosen], reference=known[training.rows])
    return found


def _best_of_n(
    config: StudyConfig, data: Dataset, rules: list[tuple[str, Selector, Array | None]], reward: Reward, *, seed: int
) -> dict[Metric, Array]:
    """Return the gold of best-of-n under every rule of a reward."""
    assert data.gold is not None
    n, rows, offsets = sizes(config, data), data.pool_rows, data.pool_offsets
    gold, pool = data.gold[rows], _rows(reward, rows)
    out: dict[Metric, Array] = {Metric("sizes"): n.astype(np.float64)}
    for title, rule, penalty in rules:
        mine = None if penalty is None else penalty[rows]
        out[Metric("bon", title)] = rule.curve(pool, gold, n, offsets=offsets, penalty=mine, seed=seed).gold_per_prompt
    if reward.sigma is not None:
        out[Metric("bon", "single")] = np.mean([_best(value, gold, n, offsets) for value in pool.draws], axis=0)
    wrong = np.random.default_rng([seed, 3]).random(len(rows)) < MISSCORED
    prompts = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    sd = np.array([part.std() for part in np.split(pool.mean, offsets[1:-1])])[prompts]
    for name, sign in (("over", 1.0), ("under", -1.0)):
        out[Metric("bon", name)] = _best(pool.mean + sign * wrong * sd, gold, n, offsets)
    return out


def _optimum_paths(
    config: StudyConfig,
    data: Dataset,
    rules: list[tuple[str, Selector, Array | None]],
    reward: Reward,
    plain: OptimumPath,
) -> dict[Metric, Array]:
    """Return path, proxy and spread of every rule of a reward that gives each text a value.

    Args:
        config: which rules, and at which KLs.
        data: what it is measured on.
        rules: title, rule and penalty of each.
        reward: of the head.
        plain: that of the mean reward.
    """
    out: dict[Metric, Array] = {}
    mean = reward.mean
    fixed = float(np.interp(FIXED_KL, plain.path.kl.mean(axis=1), plain.path.inverse_beta))
    for title, rule, penalty in rules:
        if not isinstance(rule, ValueRule) and penalty is None:  # a rule that draws at random has no path
            continue
        value = rule(reward, penalty=penalty).value
        try:
            found = plain if np.array_equal(value, mean) else optimum_path(config, data, value)
        except DataError:  # constant within every prompt
            continue
        out[Metric("path", title)], out[Metric("proxy", title)] = found.gold, found.proxy
        gold, proxy = data.gold, value[data.path_rows]
        assert gold is not None
        at = tilt_path(data.log_weight, proxy, gold[data.path_rows], inverse_beta=[0.0, fixed])
        out[Metric("spread", title)] = np.array([found.sd, at.kl[1].mean()])
    if reward.sigma is not None:
        out[Metric("path", "single")] = np.mean(
            [optimum_path(config, data, value).gold for value in reward.draws], axis=0
        )
    return out


def _branches(config: StudyConfig, data: Dataset, model: FittedHead) -> dict[Metric, Array]:
    """Return what the prediction ensemble of WARM's branches does."""
    branches = getattr(model, "branches", None)
    if branches is None:
        return {}
    assert data.gold is not None
    value = branches.score(data.features).centred().mean
    rows, n = data.pool_rows, sizes(config, data)
    best = _best(value[rows], data.gold[rows], n, data.pool_offsets)
    return {Metric("bon", "branches"): best, Metric("path", "branches"): optimum_path(config, data, value).gold}


def _best(value: Array, gold: Array, n: IntArray, offsets: IntArray) -> Array:
    return bestofn.curve(value, gold, n, offsets=offsets).gold_per_prompt


def _rows(reward: Reward, rows: IntArray) -> Reward:
    sigma = None if reward.sigma is None else reward.sigma[:, rows]
    return Reward(reward.draws[:, rows], reward.kind, sigma, annotator=reward.annotator)
