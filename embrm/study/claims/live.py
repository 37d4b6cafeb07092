"""What training runs show, beside what the exact path foretells of them: remarks, which no verdict rests on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from embrm.core.arrays import Array
from embrm.study.claims.cells import Cells
from embrm.study.metric import Metric
from embrm.study.results import Row
from embrm.study.schema import WINDOW

GOLD, KL = Metric("run", "gold"), Metric("run", "kl")
FIFTHS = 5  # a step's gold is that of few texts, so parts of a run are compared
FEWEST = 2  # seeds, for a spread


def gold_by_kl(cells: Cells, head: str) -> str:
    """Say what gold is at 1, 2, 4, 8, … nats, as far as all runs against a head's mean went, and where they end.

    At equal KL runs of different mechanisms can be compared, which at equal steps went differently far.
    """
    runs = [_by_kl(row) for row in usable(cells.runs(head))]
    if not runs:
        return ""
    reached = min(float(kl.max()) for kl, _ in runs)
    marks = [2.0**k for k in range(math.floor(math.log2(reached)) + 1)] if reached >= 1 else []
    told = [f"{_gold_at(runs, 0.0):.3g} at first"]
    told += [f"{_gold_at(runs, kl):.3g} at {kl:g} nat{'s' * (kl > 1)}" for kl in marks]
    last, ends = np.mean([gold[-1] for _, gold in runs]), [kl[-1] for kl, _ in runs]
    end = f"{last:.3g} in the last fifth of the steps, at {min(ends):.2g} to {max(ends):.2g} nats"
    return f"; training runs ({len(runs)}): gold is {', '.join(told)}, and {end}"


def fifths(runs: Sequence[Row], metric: Metric) -> Array | None:
    """Return the means `(5,)` of a run's number in each fifth of its steps, over all runs long enough; None of none."""
    found = [[part.mean() for part in np.array_split(row.arrays[metric], FIFTHS)] for row in usable(runs)]
    return np.asarray(np.mean(found, axis=0)) if found else None


def gold_at_equal_kl(cells: Cells, head: str, rules: Sequence[str]) -> str:
    """Say what gold is by each rule at the KL that every run of it reached; nothing where there are fewer than two."""
    runs = _together(cells, head, rules)
    if not runs:
        return ""
    moving = {rule: [_by_kl(row) for row in rows] for rule, rows in runs.items()}
    reached = min(float(kl.max()) for found in moving.values() for kl, _ in found)
    told = [f"{_gold_at(found, reached):.3g} by {rule or 'the mean'}" for rule, found in moving.items()]
    return f"; training runs ({_seeds(runs)}): gold at {reached:.2g} nats is {', '.join(told)}"


def gold_at_end(cells: Cells, head: str, rules: Sequence[str]) -> str:
    """Say what gold is by each rule in the last fifth of its runs, and how it differs between seeds."""
    runs = _together(cells, head, rules)
    if not runs or min(map(len, runs.values())) < FEWEST:
        return ""
    ends = {rule: np.array([_moving(row.arrays[GOLD])[-1] for row in rows]) for rule, rows in runs.items()}
    told = [f"{x.mean():.3g} (sd {x.std(ddof=1):.2g}) by {rule or 'the mean'}" for rule, x in ends.items()]
    return f"; training runs ({_seeds(runs)}): gold in the last fifth of the steps is {', '.join(told)}"


def _together(cells: Cells, head: str, rules: Sequence[str]) -> Mapping[str, list[Row]]:
    """Return the runs by each rule that has any, at the seeds that all of these have; none where one rule has some."""
    found = {rule: usable(cells.runs(head, rule=rule)) for rule in rules}
    there = {rule: {row.cell.seed: row for row in rows} for rule, rows in found.items() if rows}
    common = set.intersection(*(set(rows) for rows in there.values())) if len(there) > 1 else set()
    return {rule: [rows[seed] for seed in sorted(common)] for rule, rows in there.items()} if common else {}


def usable(rows: Sequence[Row]) -> list[Row]:
    """Return the runs that are long enough, and whose gold is known."""
    return [row for row in rows if len(x := row.arrays.get(GOLD, ())) >= FIFTHS and np.isfinite(x).all()]


def recent(x: Array) -> Array:
    """Return for each step the mean over the steps whose texts the detectors see together there."""
    return np.array([x[max(step - WINDOW, 0) : step].mean() for step in range(1, len(x) + 1)])


def _by_kl(row: Row) -> tuple[Array, Array]:
    """Return KL and gold, each the means of all fifths of a run's steps that follow one another."""
    return _moving(row.arrays[KL]), _moving(row.arrays[GOLD])


def _gold_at(runs: Sequence[tuple[Array, Array]], reached: float) -> float:
    """Return the mean gold of runs where each first went so far."""
    return float(np.mean([gold[int(np.argmax(kl >= reached))] for kl, gold in runs]))


def _moving(x: Array) -> Array:
    """Return the means of all fifths of a run's steps that follow one another."""
    width = len(x) // FIFTHS
    return np.convolve(x, np.full(width, 1 / width), mode="valid")


def _seeds(runs: Mapping[str, list[Row]]) -> str:
    n = len(next(iter(runs.values())))
    return f"{n} seed{'s' * (n > 1)}"
