"""The options of a head, chosen on validation prompts with a budget that is the same for every head."""

from __future__ import annotations

import math
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial, reduce
from typing import Any

import numpy as np

from embrm.core.data import Pairs, Problem
from embrm.core.processes import spread, use_workers
from embrm.core.recipe import as_json, changed
from embrm.core.results import RewardModel
from embrm.core.threads import one_thread
from embrm.errors import ConvergenceError, OptionError
from embrm.heads import Head, settled
from embrm.metrics.calibration import Preferences, fit_temperature, tempered


@dataclass(frozen=True)
class Trial:
    """One recipe on the validation prompts.

    Attributes:
        recipe: the head.
        options: what was changed of the recipe that was tuned.
        nll: mean over splits of the negative log-likelihood after temperature scaling, nats; infinite where it failed.
        accuracy: mean share of validation pairs ordered correctly.
        temperature: geometric mean of the temperatures.
        seconds: of fitting, all splits together.
        error: why it failed, or "".
    """

    recipe: Head
    options: Mapping[str, Any]
    nll: float = math.inf
    accuracy: float = math.nan
    temperature: float = math.nan
    seconds: float = 0.0
    error: str = ""


@dataclass(frozen=True)
class Tuning:
    """What tuning found: the recipe of least validation NLL, and every trial in the order of trying."""

    best: Head
    trials: tuple[Trial, ...] = field(repr=False)

    @property
    def edges(self) -> list[str]:
        """Options of the best recipe at or beyond an end of their space of numbers: the best may lie further out."""
        found = []
        for name, values in self.best.space().items():
            if all(isinstance(value, int | float) for value in values) and len(values) > 1:
                value = reduce(getattr, name.split("."), self.best)
                if isinstance(value, int | float) and not min(values) < value < max(values):
                    found.append(name)
        return found

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; the numbers of a failed trial are null."""
        names = ("nll", "accuracy", "temperature", "seconds", "error")
        rows = [
            {"options": {k: as_json(v) for k, v in t.options.items()}} | {n: _plain(getattr(t, n)) for n in names}
            for t in self.trials
        ]
        return {"best": self.best.config(), "edges": self.edges, "trials": rows}


@one_thread
def tune(
    head: Head | str,
    pairs: Pairs,
    *,
    budget: int,
    seed: int,
    splits: int = 2,
    fraction: float = 0.2,
    fixed: Collection[str] = (),
    workers: int | None = 1,
) -> Tuning:
    """Try recipes on validation prompts and return the best; fit it on all pairs afterwards.

    The recipe as given is tried first, then others drawn without repetition from its search space (`Head.space`), all
    of them where the budget allows. The splits of one recipe are fitted in one batch. What is compared is the
    likelihood after temperature scaling, so that heads are judged by the order and the relative sizes of their margins
    and not by a scale that one number puts right.

    Args:
        head: a recipe, or a name for its defaults.
        pairs: training pairs; test prompts must not be among them.
        budget: how many recipes are tried.
        seed: of the draw, the splits and the fits.
        splits: how many times the prompts are split, every recipe with the same splits.
        fraction: share of the pairs in validation.
        fixed: options that stay as the recipe has them, by their names in its search space.
        workers: processes that recipes are tried in, see `embrm.use_workers`; what is chosen does not depend on it.

    Raises:
        OptionError: `budget` or `splits` is below 1.
        DataError: all pairs belong to one prompt.
        ConvergenceError: no recipe could be fitted.
    """
    if budget < 1 or splits < 1:
        raise OptionError(f"budget and splits must be >= 1, got {budget} and {splits}")
    recipe = Head.of(head)
    held = [pairs.split(fraction, seed=seed + i) for i in range(splits)]
    problems = [Problem(train, seed + i) for i, (train, _) in enumerate(held)]
    validation = [part.compact() for _, part in held]
    drawn = _draw(recipe, budget, fixed, seed=seed)
    names = [f"recipe {o or 'as given'} of {recipe.config()['name']}, seed {seed}" for o in drawn]
    with use_workers(workers), settled():
        trials = spread(partial(_try, recipe, problems, validation), drawn, names=names)
    best = min(trials, key=lambda trial: trial.nll)
    if best.error:
        raise ConvergenceError(f"none of the {len(trials)} recipes could be fitted, the first because {best.error}")
    return Tuning(best.recipe, tuple(trials))


def _draw(recipe: Head, budget: int, fixed: Collection[str], *, seed: int) -> list[dict[str, Any]]:
    """Return changes of the recipe: none, and then distinct points of its space in a random order."""
    space = {name: values for name, values in recipe.space().items() if name not in fixed}
    sizes = [len(values) for values in space.values()]
    rng = np.random.default_rng(seed)
    out: dict[Head, dict[str, Any]] = {recipe: {}}
    seen: set[tuple[int, ...]] = set()
    while len(out) < budget and len(seen) < math.prod(sizes):
        point = tuple(int(rng.integers(size)) for size in sizes)
        if point not in seen:
            seen.add(point)
            options = {name: values[i] for (name, values), i in zip(space.items(), point, strict=True)}
            out.setdefault(changed(recipe, options), options)
    return list(out.values())


def _try(head: Head, problems: Sequence[Problem], validation: Sequence[Pairs], options: Mapping[str, Any]) -> Trial:
    recipe = changed(head, options)
    start = time.perf_counter()
    try:
        models: Sequence[RewardModel] = recipe.fit_many(problems)
    except ConvergenceError as error:
        return Trial(recipe, options, seconds=time.perf_counter() - start, error=str(error))
    seconds = time.perf_counter() - start
    nll, accuracy, temperature = [], [], []
    for model, pairs in zip(models, validation, strict=True):
        reward = model.score(pairs.features)
        temperature.append(fit_temperature(reward, pairs))
        seen = Preferences.of(tempered(reward, temperature[-1]), pairs)
        nll.append(seen.nll)
        accuracy.append(np.average(seen.correct, weights=seen.decided))
    means = [float(np.mean(a)) for a in (nll, accuracy, np.log(temperature))]
    return Trial(recipe, options, means[0], means[1], math.exp(means[2]), seconds)


def _plain(value: float | str) -> float | str | None:
    return None if isinstance(value, float) and not math.isfinite(value) else value
