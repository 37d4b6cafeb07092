"""What training runs show, beside what the exact path foretells of them: remarks, which no verdict rests on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from embrm.core.arrays import Array
from embrm.study.claims.cells import Cells
from embrm.study.metric import Metric
from embrm.study.results import Row

GOLD, KL = Metric("run", "gold"), Metric("run", "kl")
FIFTHS = 5  # a step's gold is that of few texts, so parts of a run are compared
FEWEST = 2  # seeds, for a spread


def gold_by_fifths(cells: Cells, head: str) -> str:
    """Say what gold does in the runs against a head's mean, averaged over them; nothing where there are none."""
    runs = cells.runs(head)
    parts = fifths(runs, GOLD)
    if parts is None:
        return ""
    way = f"{parts[0]:.3g} in the first fifth of the steps, {parts.max():.3g} in the best, {parts[-1]:.3g} in the last"
    return f"; training runs ({len(usable(runs))}): gold is {way}"


def fifths(runs: Sequence[Row], metric: Metric) -> Array | None:
    """Return the means `(5,)` of a run's number in each fifth of its steps, over all runs long enough; None of none."""
    found = [[part.mean() for part in np.array_split(row.arrays[metric], FIFTHS)] for row in usable(runs)]
    return np.asarray(np.mean(found, axis=0)) if found else None


def gold_at_equal_kl(cells: Cells, head: str, rules: Sequence[str]) -> str:
    """Say what gold is by each rule at the KL that every run of it reached; nothing where there are fewer than two."""
    runs = _together(cells, head, rules)
    if not runs:
        return ""
    moving = {
        rule: [(_moving(row.arrays[KL]), _moving(row.arrays[GOLD])) for row in rows] for rule, rows in runs.items()
    }
    reached = min(float(kl.max()) for found in moving.values() for kl, _ in found)
    told = [
        f"{np.mean([gold[int(np.argmax(kl >= reached))] for kl, gold in found]):.3g} by {rule or 'the mean'}"
        for rule, found in moving.items()
    ]
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


def _moving(x: Array) -> Array:
    """Return the means of all fifths of a run's steps that follow one another."""
    width = len(x) // FIFTHS
    return np.convolve(x, np.full(width, 1 / width), mode="valid")


def _seeds(runs: Mapping[str, list[Row]]) -> str:
    n = len(next(iter(runs.values())))
    return f"{n} seed{'s' * (n > 1)}"
