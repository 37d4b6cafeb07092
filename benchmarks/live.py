"""What detectors say of a study's training runs, up to where gold falls: python benchmarks/live.py RUN

Gold and KL of a step are means over the texts that the detectors see there. Of runs against fair annotators each check
before the fall that finds something is a false alarm, one in twenty at the level of 5 %. An alarm is that of the rule
that `embrm rl` takes for a detector by itself; its lead is how many steps later gold falls.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from embrm import detectors
from embrm.monitoring import AlarmRule, alarm_report, gold_onset
from embrm.study.claims.live import recent
from embrm.study.metric import Metric
from embrm.study.results import Results, Row
from embrm.study.schema import WINDOW

LEVEL = 0.05  # of a check


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
    print("\n| head | annotators | detector | rule | checks before the fall that find something | alarms | lead |")
    print("|---|---|---|---|---|---|---|")
    for names, rows in groups:
        for watch in [metric for metric in rows[0].arrays if metric.family == "watch"]:
            rule, p_value = AlarmRule().suited_to(detectors.get(watch.name)()), replace(watch, family="alarm")
            shares, leads = [], []
            for row in rows:
                gold = recent(row.arrays[Metric("run", "gold")])
                statistic, p_values = row.arrays[watch], row.arrays.get(p_value)
                found = alarm_report(statistic, gold, alarm=rule.first_alarm(statistic, p_values))
                if p_values is not None:
                    shares.append(float((p_values[WINDOW - 1 : found.onset] <= LEVEL).mean()))
                if found.lead is not None and found.lead >= 0:
                    leads.append(found.lead)
            share = f"{np.mean(shares):.0%} ({_range([round(100 * x) for x in shares])})" if shares else "–"
            told = f"{' | '.join(names)} | {watch.name} | {rule.rule} | {share} | {len(leads)} of {len(rows)}"
            print(f"| {told} | {_range(leads)} |")


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
