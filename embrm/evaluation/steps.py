"""How good a step reward is: which steps it tells to be right, where it finds the first error, what aggregates do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from embrm.bestofn import AGGREGATIONS, aggregate, step_probability
from embrm.core.arrays import Array, IntArray
from embrm.core.results import Reward
from embrm.core.traces import StepTraces, first_below
from embrm.errors import DataError, OptionError
from embrm.evaluation.reports import Fits, M_co
from embrm.metrics.intervals import LEVEL, Interval, Units, resampled_means, stretched
from embrm.metrics.roc import auroc

DRAWS = 2000
THRESHOLD = 0.5


@dataclass(frozen=True, eq=False)
class StepReport:
    """What a step reward makes of labelled traces.

    Attributes:
        accuracy: share of the labelled steps that it tells right from wrong.
        located: share of the traces with an error whose first error it finds: the step and no other.
        passed: share of the traces without an error in which it finds none.
        f1: harmonic mean of the two (ProcessBench, 2412.06559).
        auroc: aggregation → how well it tells traces without an error from those with one; NaN where there is but one
            kind.
        steps, traces, prompts: how many there were, traces without any label left out.
    """

    accuracy: Interval
    located: Interval
    passed: Interval
    f1: Interval
    auroc: Mapping[str, float]
    steps: int
    traces: int
    prompts: int

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-ready values; what cannot be said of these traces is null."""
        lines = {name: getattr(self, name) for name in ("accuracy", "located", "passed", "f1")}
        told = {
            name: {part: _plain(getattr(line, part)) for part in ("estimate", "low", "high")}
            for name, line in lines.items()
        }
        areas = {name: _plain(value) for name, value in self.auroc.items()}
        return {"steps": self.steps, "traces": self.traces, "prompts": self.prompts, **told, "auroc": areas}


def step_report(reward: Reward, traces: StepTraces, *, seed: int) -> StepReport:
    """Compare a step reward with labelled traces; intervals are bootstraps over prompts, or clusters of prompts.

    A step is told to be wrong where its probability is below one half; the first such step is the error found.

    Args:
        reward: of all rows of `traces.features`, by a head that was trained with `loss="step"`.
        traces: those to compare with.
        seed: of the bootstrap.

    Raises:
        DataError: no step has a label, or the traces with one are of fewer than two prompts.
    """
    chance = step_probability(reward).mean(axis=0)
    known = ~np.isnan(traces.labels)
    judged = np.flatnonzero(np.bincount(traces.trace[known], minlength=len(traces)) > 0)
    if not len(judged):
        raise DataError("no step has a label, so there is nothing to compare with")
    right = known & ((chance >= THRESHOLD) == (traces.labels == 1))
    found, error = first_below(chance, traces.offsets, THRESHOLD), traces.first_error
    wrong, same = error >= 0, found == error
    per_trace = np.stack(
        [
            np.bincount(traces.trace, weights=right, minlength=len(traces)),
            np.bincount(traces.trace, weights=known, minlength=len(traces)),
            wrong & same,
            wrong,
            ~wrong & same,
            ~wrong,
        ],
        axis=1,
    )[judged]
    unit = _unit(traces)[judged]
    sums = np.zeros((len(units := np.unique(unit)), per_trace.shape[1]))
    np.add.at(sums, np.searchsorted(units, unit), per_trace)
    shares, drawn = _shares(sums.mean(axis=0)), _shares(resampled_means(sums, seed=seed, draws=DRAWS))
    there = [part[np.isfinite(part)] if np.isfinite(part).any() else part for part in drawn.T]
    accuracy, located, passed, f1 = (
        Interval.of(share, stretched(part, Units(len(units))), n=len(units), level=LEVEL, within=(0.0, 1.0))
        for share, part in zip(shares.T, there, strict=True)
    )
    areas: dict[str, float] = {
        how: auroc(aggregate(chance, traces.offsets, how)[judged], ~wrong[judged])
        if 0 < wrong[judged].sum() < len(judged)
        else np.nan
        for how in AGGREGATIONS
    }
    prompts = len(np.unique(traces.prompt[judged]))
    return StepReport(
        accuracy, located, passed, f1, auroc=areas, steps=int(known.sum()), traces=len(judged), prompts=prompts
    )


def fit_and_check_steps(
    recipe: Fits[M_co], traces: StepTraces, *, seed: int, fraction: float
) -> tuple[M_co, StepReport | None]:
    """Fit on the traces of all but a fraction of the prompts and report on the others; fraction 0 reports nothing.

    Raises:
        DataError: all labelled steps are alike, or answer one prompt, so that none can be held out.
        OptionError: `fraction` is not inside [0, 1).
    """
    if not 0 <= fraction < 1:
        raise OptionError(f"fraction must be inside [0, 1), got {fraction}")
    pairs = traces.pairs()
    if fraction == 0:
        return recipe.fit(pairs, seed=seed), None
    held = pairs.split(fraction, seed=seed)[1]
    apart = np.isin(traces.prompt, held.prompt)
    model = recipe.fit(traces.take(~apart).pairs(), seed=seed)
    rest = traces.take(apart)
    return model, step_report(model.score(rest.features), rest, seed=seed)


def _unit(traces: StepTraces) -> IntArray:
    cluster = traces.features.cluster
    return traces.prompt if cluster is None else cluster[traces.offsets[:-1]]


def _shares(sums: Array) -> Array:
    """Return accuracy, located, passed and F1 `(..., 4)` from sums `(..., 6)`; NaN of what there is none of."""
    with np.errstate(divide="ignore", invalid="ignore"):
        accuracy, located, passed = np.moveaxis(sums[..., ::2] / sums[..., 1::2], -1, 0)
        f1 = np.where(located + passed > 0, 2 * located * passed / (located + passed), 0.0)
        f1 = np.where(np.isnan(located + passed), np.nan, f1)
    return np.stack([accuracy, located, passed, f1], axis=-1)


def _plain(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None
