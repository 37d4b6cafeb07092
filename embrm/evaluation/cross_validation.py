"""Cross-validation by prompt: each pair judged by models that saw no pair of its prompt."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from embrm.core.arrays import Array, BoolArray, IntArray
from embrm.core.data import Pairs
from embrm.core.processes import spread
from embrm.core.results import Reward
from embrm.evaluation.pair_sums import apart, hits
from embrm.heads import Head, settled
from embrm.metrics.calibration import Preferences, fit_temperature, tempered
from embrm.training.tuning import tune

CONTROLS = ("length", "random")


@dataclass(frozen=True, eq=False)
class HeldOut:
    """What a head or a control says of every pair when its prompt was held out.

    Attributes:
        seen: of each pair, one a seed, in the order of the pairs.
        hit: `(seeds, n)` see `embrm.evaluation.pair_sums.hits`.
        seconds: mean wall time of one fit, without its tuning; NaN for controls.
        recipes: what tuning chose, for each fold of the first seed, then of the next.
    """

    seen: tuple[Preferences, ...]
    hit: Array
    seconds: float
    recipes: tuple[Head, ...] = ()


def folds_of(pairs: Pairs, folds: int, *, seed: int) -> IntArray:
    """Return the fold of each pair `(n,)`: prompts, or their clusters, in a random order, equally many in each."""
    prompts, inverse = np.unique(apart(pairs), return_inverse=True)
    of_prompt = np.empty(len(prompts), dtype=np.int64)
    for number, part in enumerate(np.array_split(np.random.default_rng(seed).permutation(len(prompts)), folds)):
        of_prompt[part] = number
    return of_prompt[inverse]


def _held(fold: IntArray) -> Iterator[tuple[int, BoolArray]]:
    """Yield the number of the seed and the mask `(n,)` of the held-out pairs, fold after fold."""
    for i, parts in enumerate(fold):
        yield from ((i, parts == number) for number in range(int(fold.max()) + 1))


def cross_validated(
    head: Head, pairs: Pairs, fold: IntArray, *, budget: int, seed: int, done: Callable[[int], None]
) -> HeldOut:
    """Tune and fit a head for each fold of each seed, and keep what it says of the pairs held out.

    Args:
        head: the recipe; of its search space, options that it sets to something else than the default stay.
        pairs: all of them.
        fold: `(seeds, n)` see `folds_of`.
        budget: see `embrm.tune`.
        seed: of the first row of `fold`; the next has the next.
        done: told the number of each fold that is done.

    Raises:
        ConvergenceError: a fold could not be fitted, or none of the recipes tried.
        DataError: the training pairs of a fold are all ties.
    """
    fixed = [name for name in head.space() if _is_set(head, name)]
    jobs = [(seed + i, held) for i, held in _held(fold)]
    folds = int(fold.max()) + 1
    names = [f"fold {j % folds} of {head.config()['name']}, seed {own}" for j, (own, _) in enumerate(jobs)]
    with settled():
        found = spread(partial(_judged, head, pairs, budget, fixed), jobs, names=names, done=done)
    seconds = float(np.mean([fit.seconds for fit in found]))
    return _joined([(f.seen, f.hit) for f in found], fold, seconds=seconds, recipes=tuple(f.recipe for f in found))


class _Fold(NamedTuple):
    """What the model of one fold says of all pairs, its recipe, and the seconds of its fit."""

    seen: Preferences
    hit: Array
    recipe: Head
    seconds: float


def _judged(head: Head, pairs: Pairs, budget: int, fixed: Collection[str], job: tuple[int, BoolArray]) -> _Fold:
    """Tune and fit on the pairs that are not held out."""
    seed, held = job
    train = pairs.take(~held)
    tuned = tune(head, train, budget=budget, seed=seed, fixed=fixed)
    start = time.perf_counter()
    model = tuned.best.fit(train, seed=seed)
    seconds = time.perf_counter() - start
    reward = model.score(pairs.features)
    return _Fold(Preferences.of(reward, pairs), hits(reward, pairs), tuned.best, seconds)


def _is_set(recipe: Any, name: str) -> bool:
    """Say whether an option, such as "beta" or "base.beta", is something else than its default."""
    *outer, last = name.split(".")
    for part in outer:
        recipe = getattr(recipe, part)
    (of,) = (f for f in dataclasses.fields(recipe) if f.name == last)
    default = of.default if of.default_factory is dataclasses.MISSING else of.default_factory()
    return bool(getattr(recipe, last) != default)


def controls(pairs: Pairs, fold: IntArray) -> dict[str, HeldOut]:
    """Return what "length" says (the longer is better, by a temperature fitted on training prompts), and "random".

    Without lengths there is no "length".
    """
    values = {"random": np.zeros(len(pairs.features))}
    if pairs.features.length is not None:
        values = {"length": pairs.features.length / (pairs.features.length.std() or 1.0), **values}
    out = {}
    for title, value in values.items():
        reward = Reward(value[None], "point")
        parts = []
        for _, held in _held(fold):
            temperature = fit_temperature(reward, pairs.take(~held)) if title == "length" else 1.0
            parts.append((Preferences.of(tempered(reward, temperature), pairs), hits(reward, pairs)))
        out[title] = _joined(parts, fold, seconds=np.nan)
    return out


def _joined(
    parts: list[tuple[Preferences, Array]], fold: IntArray, *, seconds: float, recipes: tuple[Head, ...] = ()
) -> HeldOut:
    """Put together what the models of each fold say of all pairs: of each pair the one counts that held it out."""
    folds, n = int(fold.max()) + 1, fold.shape[1]
    first, pair = parts[0][0], np.arange(n)
    seen, hit = [], []
    for i, own in enumerate(fold):
        mine = parts[i * folds : (i + 1) * folds]
        p = np.stack([part.p for part, _ in mine])[own, pair]
        loss = np.stack([part.loss for part, _ in mine])[own, pair]
        seen.append(Preferences(p, loss, first.weight, first.decided))
        hit.append(np.stack([right for _, right in mine])[own, pair])
    return HeldOut(tuple(seen), np.stack(hit), seconds, recipes)
