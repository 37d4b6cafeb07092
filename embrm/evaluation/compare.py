"""Heads side by side on one's own preferences, by cross-validation over prompts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from embrm.core.arrays import Array, IntArray
from embrm.core.data import Pairs
from embrm.core.processes import use_workers
from embrm.errors import ConvergenceError, DataError, OptionError
from embrm.evaluation.cross_validation import CONTROLS, HeldOut, controls, cross_validated, folds_of
from embrm.evaluation.pair_sums import WITHIN, apart, clusters_of, pair_numbers, pair_sums
from embrm.heads import Head
from embrm.metrics.calibration import Preferences
from embrm.metrics.intervals import LEVEL, Interval, resampled_means, stretched, units_of
from embrm.metrics.significance import bootstrap_p, holm_adjusted

FitProgress: TypeAlias = Callable[[int, int, str], None]
DRAWS = 2000


@dataclass(frozen=True)
class HeadDifference:
    """A head's number minus the first head's, on the same pairs.

    Attributes:
        value: the difference with its 95 % interval over prompts.
        p: two-sided bootstrap p-value.
        holm: the same after Holm's correction over the heads that are compared with the first.
    """

    value: Interval
    p: float
    holm: float


@dataclass(frozen=True, eq=False)
class HeadLine:
    """One head, or a control, on pairs of prompts that it was not trained on.

    Attributes:
        accuracy: share of the decided pairs whose chosen text has the higher mean reward.
        nll: mean negative log-likelihood of the preferences, nats.
        ece: expected calibration error over ten bins of confidence.
        ahead: "accuracy" and "nll" → the difference from the first head; empty for the first head and for controls.
        seconds: mean wall time of one fit, without its tuning; NaN for controls.
        recipes: what tuning chose, for each fold of the first seed, then of the next.
        seen: what the head says of each pair, one a seed, in the order of the pairs.
        hit: `(seeds, n)` whether it orders each pair correctly, one half where rewards are equal.
    """

    accuracy: Interval
    nll: Interval
    ece: Interval
    ahead: Mapping[str, HeadDifference]
    seconds: float
    recipes: tuple[Head, ...]
    seen: tuple[Preferences, ...] = field(repr=False)
    hit: Array = field(repr=False)


@dataclass(frozen=True, eq=False)
class HeadComparison:
    """Heads compared by cross-validation.

    Attributes:
        lines: title → what was measured; the heads in the order that they were given, then "length" where lengths are
            known, and "random".
        baseline: title of the head that differences are from: the first.
        failures: title → why a head could not be fitted.
        pairs, prompts: how many there were.
        folds, seeds, budget: of the cross-validation and the tuning.
        fold: `(seeds, n)` in which fold each pair was held out.
    """

    lines: Mapping[str, HeadLine]
    baseline: str
    failures: Mapping[str, str]
    pairs: int
    prompts: int
    folds: int
    seeds: int
    budget: int
    fold: IntArray = field(repr=False)

    @property
    def ranked(self) -> list[str]:
        """Titles from the highest accuracy to the lowest; of equal ones the lower NLL first."""
        return sorted(
            self.lines, key=lambda t: (-float(self.lines[t].accuracy.estimate), float(self.lines[t].nll.estimate))
        )

    def as_dict(self) -> dict[str, Any]:
        """Return JSON-ready values, lines by rank, without what was seen of each pair."""
        names = ("baseline", "pairs", "prompts", "folds", "seeds", "budget")
        about = {name: getattr(self, name) for name in names}
        lines = [{"head": title, **_line_as_dict(self.lines[title])} for title in self.ranked]
        return {**about, "lines": lines, "failures": dict(self.failures)}


def compare_heads(
    heads: Mapping[str, Head],
    pairs: Pairs,
    *,
    folds: int = 5,
    seeds: int = 1,
    budget: int = 3,
    seed: int,
    workers: int | None = 1,
    progress: FitProgress = lambda done, total, text: None,
) -> HeadComparison:
    """Compare heads on preference pairs by cross-validation grouped by prompt.

    Every pair is judged by models that saw no pair of its prompt. In each fold every head is tuned on validation
    prompts inside the training prompts, with the same budget (`embrm.tune`); options that a recipe sets to something
    else than their defaults stay so. The tuned recipe is then fitted on all training prompts, and its rewards are
    judged as they are, as `pair_report` does: a temperature found on other fits need not suit this one, whose
    regularisation may differ. The control "length" prefers the longer text, with a scale fitted on the training
    prompts; "random" says one half.

    Intervals are bootstraps over prompts, or clusters of them, and all heads are resampled with the same draws:
    differences are paired. As folds share training prompts, they say how the numbers vary with the prompts that are
    judged, not with those trained on (Nadeau & Bengio 2003). Differences in accuracy and in NLL are each corrected over
    the heads by Holm's method (1979).

    Args:
        heads: title → recipe; differences are from the first.
        pairs: all preferences that there are.
        folds: in how many parts the prompts are split; each is held out once.
        seeds: how often the whole is repeated, with other folds and fits; numbers are means over them.
        budget: recipes tried for each head in each fold; 1 takes the recipe as it is.
        seed: of everything random.
        workers: processes that folds are computed in, see `embrm.use_workers`; no number depends on it.
        progress: told after each fold of a head: how many are done, of how many, and the head's title.

    Raises:
        OptionError: there is no head, a title is a control's, or a number is too small, or `folds` too large for the
            prompts.
        DataError: the prompts are too few, or all pairs are ties.
        ConvergenceError: the first head cannot be fitted; another that cannot is among `failures`.

    Examples:
        >>> import numpy as np
        >>> from embrm import Pairs, heads
        >>> x = np.random.default_rng(0).normal(size=(240, 3))
        >>> better = np.where(x[::2, 0] > x[1::2, 0], 0, 1)
        >>> rows = np.arange(0, 240, 2)
        >>> pairs = Pairs.from_arrays(x, chosen=rows + better, rejected=rows + 1 - better)
        >>> found = compare_heads({"linear": heads.get("linear")()}, pairs, folds=2, budget=1, seed=0)
        >>> found.ranked, bool(found.lines["linear"].accuracy.estimate > 0.9)
        (['linear', 'random'], True)
    """
    _check(heads, pairs, folds=folds, seeds=seeds)
    fold = np.stack([folds_of(pairs, folds, seed=seed + i) for i in range(seeds)])
    report = _Steps(progress, total=len(heads) * seeds * folds)
    judged: dict[str, HeldOut] = {}
    failures: dict[str, str] = {}
    for title, head in heads.items():
        try:
            with use_workers(workers):
                judged[title] = cross_validated(head, pairs, fold, budget=budget, seed=seed, done=report.of(title))
        except ConvergenceError as error:
            if not judged:
                raise ConvergenceError(
                    f"'{title}', which others are compared with, cannot be fitted: {error}"
                ) from error
            failures[title] = str(error)
    compared = list(judged)
    judged |= controls(pairs, fold)
    lines = _lines(judged, compared, pairs, seed=seed)
    prompts = len(np.unique(pairs.prompt))
    return HeadComparison(lines, compared[0], failures, len(pairs), prompts, folds, seeds, budget, fold)


class _Steps:
    """Counts the folds that are done, of all heads."""

    def __init__(self, progress: FitProgress, *, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0

    def of(self, title: str) -> Callable[[int], None]:
        def step(_: int) -> None:
            self._done += 1
            self._progress(self._done, self._total, title)

        return step


def _check(heads: Mapping[str, Head], pairs: Pairs, *, folds: int, seeds: int) -> None:
    if not heads:
        raise OptionError("there is no head to compare; give at least one")
    for title in set(heads) & set(CONTROLS):
        raise OptionError(f"the title '{title}' is that of a control; give the head another")
    if folds < 2 or seeds < 1:
        raise OptionError(f"folds must be >= 2 and seeds >= 1, got {folds} and {seeds}")
    prompts, alone = len(np.unique(apart(pairs))), pairs.features.cluster is None
    one, many = ("prompt", "prompts") if alone else ("cluster of prompts", "clusters of prompts")
    if prompts < 2:
        raise DataError(
            f"all {len(pairs)} pairs belong to one {one}, so none can be held out; add pairs of other prompts"
        )
    if folds > prompts:
        raise OptionError(
            f"folds must be at most the number of {many}, {prompts}, got {folds}; lower it, or add prompts"
        )
    if prompts - -(-prompts // folds) < 2:  # training prompts of the smallest fold are split once more by tuning
        raise DataError(
            f"{prompts} {many} in {folds} folds leave a single one to train and tune on; add pairs of other prompts"
        )


def _lines(judged: Mapping[str, HeldOut], compared: list[str], pairs: Pairs, *, seed: int) -> dict[str, HeadLine]:
    """Return the lines of all heads and controls, resampled with the same draws of prompts."""
    sums = [
        np.mean([pair_sums(seen, hit, pairs.prompt) for seen, hit in zip(j.seen, j.hit, strict=True)], axis=0)
        for j in judged.values()
    ]
    stacked = np.stack(sums, axis=1)
    means = pair_numbers(stacked.mean(axis=0))
    cluster = clusters_of(pairs)
    draws = pair_numbers(resampled_means(stacked, seed=seed, draws=DRAWS, cluster=cluster))
    units = units_of(stacked, cluster)
    own = Interval.of(means, stretched(draws, units), n=len(stacked), level=LEVEL, within=WITHIN)

    ahead: dict[str, dict[str, HeadDifference]] = {title: {} for title in judged}
    for k, name in enumerate(("accuracy", "nll")):
        gaps = [stretched(draws[:, h, k] - draws[:, 0, k], units) for h in range(1, len(compared))]
        p = [min(1.0, bootstrap_p(~(gap > 0)), bootstrap_p(~(gap < 0))) for gap in gaps]
        for h, (gap, alone, corrected) in enumerate(zip(gaps, p, holm_adjusted(p), strict=True), start=1):
            value = Interval.of(means[h, k] - means[0, k], gap, n=len(stacked), level=LEVEL)
            ahead[compared[h]][name] = HeadDifference(value, alone, float(corrected))
    return {
        title: HeadLine(
            own[h][0],
            own[h][1],
            own[h][2],
            ahead[title],
            j.seconds,
            j.recipes,
            j.seen,
            j.hit,
        )
        for h, (title, j) in enumerate(judged.items())
    }


def _line_as_dict(line: HeadLine) -> dict[str, Any]:
    numbers: dict[str, Any] = {name: _interval(getattr(line, name)) for name in ("accuracy", "nll", "ece")}
    ahead = {n: {**_interval(d.value), "p": d.p, "holm": d.holm} for n, d in line.ahead.items()}
    seconds = None if np.isnan(line.seconds) else line.seconds
    return {**numbers, "ahead": ahead, "seconds": seconds, "recipes": [recipe.config() for recipe in line.recipes]}


def _interval(line: Interval) -> dict[str, float]:
    return {name: float(getattr(line, name)) for name in ("estimate", "low", "high")}
