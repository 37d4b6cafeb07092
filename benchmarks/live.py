"""What detectors say of a study's training runs, up to where gold falls: python benchmarks/live.py RUN

Gold and KL of a step are means over the texts that the detectors see there. Of runs against fair annotators each check
before the fall that finds something is a false alarm, one in twenty at the level of 5 %. An alarm is one that three
checks in a row raise; its lead is how many steps later gold falls.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from embrm.core.arrays import Array
from embrm.monitoring import gold_onset
from embrm.study.claims.live import recent
from embrm.study.metric import Metric
from embrm.study.results import Results, Row
from embrm.study.schema import WINDOW

LEVEL, LASTING = 0.05, 3  # of a check, and how many of them in a row are an alarm


def alarm(p_values: Array) -> int | None:
    """Return the step at which enough checks in a row have found something, or None."""
    found = np.convolve(p_values <= LEVEL, np.ones(LASTING), "valid") == LASTING
    return int(found.argmax()) + LASTING - 1 if found.any() else None


def gold_table(groups: Iterable[tuple[tuple[str, str], Sequence[Row]]]) -> None:
    """Print where gold falls."""
    print(
        "\n| head | annotators | runs | gold at first | at its peak | it falls at step | at KL | gold at the end | KL |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    for names, rows in groups:
        gold, kl = ([recent(row.arrays[Metric("run", name)]) for row in rows] for name in ("gold", "kl"))
        falls = [gold_onset(x) for x in gold]
        fell = [(step, float(x[step])) for step, x in zip(falls, kl, strict=True) if step is not None]
        steps, nats = (_range([row[i] for row in fell]) for i in (0, 1))
        first, peak, last = (np.mean([f(x) for x in gold]) for f in (lambda x: x[0], np.max, lambda x: x[-1]))
        ends = _range([float(x[-1]) for x in kl])
        print(
            f"| {' | '.join(names)} | {len(rows)} | {first:.2f} | {peak:.2f} | {steps} | {nats} | {last:.2f} | {ends} |"
        )


def detector_table(groups: Iterable[tuple[tuple[str, str], Sequence[Row]]]) -> None:
    """Print each detector's false alarms and leads."""
    print("\n| head | annotators | detector | checks before the fall that find something | alarms before it | lead |")
    print("|---|---|---|---|---|---|")
    for names, rows in groups:
        for metric in [metric for metric in rows[0].arrays if metric.family == "alarm"]:
            shares, leads = [], []
            for row in rows:
                fall = gold_onset(recent(row.arrays[Metric("run", "gold")]))
                p_values = row.arrays[metric]
                shares.append((p_values[WINDOW - 1 : fall] <= LEVEL).mean())
                at = alarm(p_values)
                if at is not None and fall is not None and at <= fall:
                    leads.append(fall - at)
            share = f"{np.mean(shares):.0%} ({_range([round(100 * x) for x in shares])})"
            print(f"| {' | '.join(names)} | {metric.name} | {share} | {len(leads)} of {len(rows)} | {_range(leads)} |")


def _range(values: Sequence[float]) -> str:
    if not values:
        return "–"
    low, high = (f"{x:.0f}" if x >= 10 else f"{x:.2g}" for x in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def main(folder: str) -> None:
    """Print both tables for runs by the mean of each head."""
    runs = list(Results.load(Path(folder)).select(kind="rl", rule=""))
    groups: defaultdict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in runs:
        groups[row.cell.head, row.cell.mechanism].append(row)
    gold_table(sorted(groups.items()))
    detector_table(sorted(groups.items()))


if __name__ == "__main__":
    main(sys.argv[1])
