"""What a command prints: aligned tables for people, one JSON object for programs, warnings on standard error."""

from __future__ import annotations

import dataclasses
import itertools
import json
import math
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import click

from embrm.core.files import write_rows
from embrm.core.visible import escaped

if TYPE_CHECKING:
    from embrm.embedders.cache.store import CacheInfo
    from embrm.evaluation.hacking import HackThreshold, RuleLaw
    from embrm.evaluation.reports import PairReport, PoolReport
    from embrm.evaluation.rules import RuleComparison
    from embrm.evaluation.steps import StepReport
    from embrm.evaluation.stress import StressReport
    from embrm.metrics.intervals import Interval
    from embrm.monitoring.watch import DetectorReport, TrajectoryReport

_warned: list[str] = []


@contextmanager
def shown_warnings() -> Iterator[None]:
    """Print the library's warnings as one line each on standard error, and keep them for `emit`."""
    _warned.clear()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        warnings.showwarning = _show
        yield


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    if str(message) not in _warned:
        _warned.append(str(message))
        click.echo(escaped(f"warning: {message}"), err=True)


def emit(data: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """Print `data` with the warnings as one JSON object, or `text`."""
    if as_json:
        values = {**_plain(data), "warnings": _warned}
        click.echo(escaped(json.dumps(values, ensure_ascii=False, allow_nan=False, indent=2)))
    else:
        click.echo(escaped(text))


def emit_rows(rows: Iterable[Mapping[str, Any]], output: str, *, as_json: bool) -> None:
    """Write rows as JSON Lines, as they come; with `as_json` print one object: the rows, or where they were written."""
    if output != "-":
        count = itertools.count()
        write_rows(output, (_plain(row) for row, _ in zip(rows, count, strict=False)))
        written = next(count)
        emit({"output": output, "count": written}, f"{written} rows → {output}", as_json=as_json)
    elif as_json:
        emit({"rows": list(rows)}, "", as_json=True)
    else:
        write_rows("-", map(_plain, rows))


def _plain(value: Any) -> Any:
    """Return JSON-ready data; NaN and infinity, which JSON does not have, become null."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if dataclasses.is_dataclass(value):
        return _plain({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if hasattr(value, "tolist"):  # numpy, without importing it here
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Return aligned columns: text to the left, numbers to the right."""
    cells = [[cell(v) for v in row] for row in rows]
    widths = [max(len(c) for c in column) for column in zip(header, *cells, strict=True)]
    right = [bool(rows) and all(isinstance(row[j], int | float) for row in rows) for j in range(len(header))]
    lines = [header, *cells]
    return "\n".join(
        "  ".join(c.rjust(w) if r else c.ljust(w) for c, w, r in zip(line, widths, right, strict=True)).rstrip()
        for line in lines
    )


def cell(value: object) -> str:
    """Return a number in four digits, anything else as it is."""
    if isinstance(value, float):
        return "–" if math.isnan(value) else f"{0.0 if abs(value) < 1e-12 else value:.4g}"  # rounding is no result
    return str(value)


def pair_table(report: PairReport) -> str:
    """Return accuracy, NLL and ECE with their intervals."""
    rows = [
        [name, *(float(v) for v in (line.estimate, line.low, line.high))]
        for name, line in (("accuracy", report.accuracy), ("NLL", report.nll), ("ECE", report.ece))
    ]
    return f"{report.pairs} pairs of {report.prompts} prompts\n" + table(["", "value", "2.5 %", "97.5 %"], rows)


def step_table(report: StepReport) -> str:
    """Return what a step reward finds, with intervals, and what each aggregation tells."""
    named = {"accuracy": "steps told", "located": "errors located", "passed": "right traces passed", "f1": "F1"}
    lines = [[name, *(float(v) for v in (line.estimate, line.low, line.high))]
             for key, name in named.items() for line in [getattr(report, key)]]  # fmt: skip
    found = table(["", "value", "2.5 %", "97.5 %"], lines)
    areas = table(["aggregation", "AUROC of right traces"], [[how, area] for how, area in report.auroc.items()])
    return f"{report.steps} labelled steps of {report.traces} traces, {report.prompts} prompts\n{found}\n\n{areas}"


def pool_table(report: PoolReport) -> str:
    """Return the best-of-n curve at powers of two and at its end."""
    last = len(report.sizes) - 1
    shown = [i for i, n in enumerate(report.sizes) if i == last or math.log2(n).is_integer()]
    compared = [name for name in ("oracle", "length", "random") if name in report.reward]
    rows = [
        [
            report.sizes[i].item(),
            float(report.kl[i]),
            *(float(report.reward[name].estimate[i]) for name in ("proxy", "gold")),
            _range(report.reward["gold"], i),
            *(float(report.reward[name].estimate[i]) for name in compared),
            float(report.of_oracle.estimate[i]),
        ]
        for i in shown
    ]
    header = ["n", "KL", "proxy", "gold", "95 %", *compared, "of oracle"]
    return f"{report.prompts} prompts\n" + table(header, rows)


def rule_table(found: RuleComparison) -> str:
    """Return gold at powers of two and at the end for each rule, and below it for what rules are compared with."""
    last = len(found.sizes) - 1
    shown = [i for i, n in enumerate(found.sizes) if i == last or math.log2(n).is_integer()]
    first = next(iter(found.lines))
    rows: list[list[object]] = [
        [
            name,
            *(float(line.gold.estimate[i]) for i in shown),
            _range(line.gold, last),
            _range(line.ahead, last) if name != first else "–",
            float(line.kl[last]),
            line.peak if line.drop is not None else "–",
            "–" if line.drop is None else _value(line.drop),
        ]
        for name, line in found.lines.items()
    ]
    sizes = [f"n={found.sizes[i]}" for i in shown]
    header = ["rule", *sizes, "95 %", f"minus {first}, 95 %", "KL", "peak n", "drop from it, 95 %"]
    return f"gold of what is chosen among n, {found.prompts} prompts\n" + table(header, rows)


def threshold_table(found: Mapping[str, HackThreshold]) -> str:
    """Return beyond which strength of each rule gold falls."""
    names = {"best": "n", "poisson": "rate", "tilt": "1/temperature"}
    rows = [[name, names[line.strength], "–" if math.isinf(line.at) else line.at] for name, line in found.items()]
    title = "gold is highest at this strength, with the pools as the policy itself (–: it does not fall)"
    return f"{title}\n" + table(["rule", "strength", "at"], rows)


def law_table(laws: Mapping[str, RuleLaw]) -> str:
    """Return the coefficients of Gao's law, the peak that it foretells, and its error where it was not fitted."""
    rows = [
        [
            name,
            *(_value(line) for line in (law.fit.alpha, law.fit.beta, law.fit.peak_kl)),
            law.fit.residual,
            law.fitted,
            *(_value(line) for line in (law.forecast.error, law.forecast.flat_error)),
        ]
        for name, law in laws.items()
    ]
    header = ["rule", "α, 95 %", "β, 95 %", "peak at KL, 95 %", "residual", "forecast from n ≤", "its error, 95 %"]
    title = "Gao's law R = d(α - βd) of the gain over a random response, d = √KL; errors at the largest n"
    return f"{title}\n" + table([*header, "error of no change, 95 %"], rows)


def _value(line: Interval) -> str:
    return f"{cell(float(line.estimate))} ({_of(line)})"


def _of(line: Interval) -> str:
    return f"{cell(float(line.low))} … {cell(float(line.high))}"


def _range(line: Interval, i: int) -> str:
    return _of(line[i])


def detector_table(reports: Sequence[DetectorReport]) -> str:
    """Return one line a detector and space, and below it what a reader must know before trusting the numbers."""
    rows = [
        [
            f.detector,
            f.space,
            float(f.verdict.statistic),
            float("nan") if (share := f.verdict.flagged_fraction) is None else 100 * share,
            f.verdict.alpha or "–",
            "–" if f.p_value is None else cell(f.p_value),
            {True: "ALARM", False: "no", None: "–"}[f.alarm],
        ]
        for f in reports
    ]
    notes = [f"{f.detector} ({f.space}): {note}" for f in reports for note in f.verdict.warnings]
    header = ["detector", "space", "statistic", "flagged %", "alpha", "p of the set", "alarm"]
    return "\n".join([table(header, rows), *notes])


def trajectory_table(reports: Sequence[TrajectoryReport]) -> str:
    """Return one line a detector and space: when its rule fired, and when gold began to fall."""
    reported = ("onset", "lead", "auroc")
    rows = [
        [
            w.detector,
            w.space,
            w.rule,
            "not calibrated" if w.level is None else cell(w.level),
            *(float(w.statistic[i]) for i in (0, -1)),
            *("–" if v is None else v for v in (w.alarm, *(getattr(w.report, name, None) for name in reported))),
        ]
        for w in reports
    ]
    notes = [f"{w.detector} ({w.space}): {note}" for w in reports for note in w.warnings]
    header = [
        "detector",
        "space",
        "rule",
        "false alarms",
        "first",
        "last",
        "alarm at step",
        "gold falls at",
        "lead",
        "AUROC of steps",
    ]
    return "\n".join([table(header, rows), *notes])


def stress_table(found: StressReport) -> str:
    """Return how often each probe is accepted, and below it how firm preferences are."""
    rows = [
        [name, float(line.acceptance.estimate), _of(line.acceptance), line.gain] for name, line in found.probes.items()
    ]
    header = ["probe", "accepted", "95 %", "gain in sd"]
    lines = [f"{found.texts} texts of {found.prompts} prompts", table(header, rows)]
    if found.turns is not None:
        kept = ", ".join(cell(float(share)) for share in found.turns.kept.estimate)
        lines.append(f"preferences that stand after 1, 2, … doubts: {kept}")
        lines.append(f"position-weighted consistency: {_value(found.turns.consistency)}")
    if found.flips is not None:
        flips = found.flips
        lines.append(f"preferences turned by moves within radius {cell(flips.radius)}: {_value(flips.share)}")
        pairs, firm, told = (int(found.sum()) for found in (flips.flips >= 0, flips.firm, flips.tail >= 0))
        lines.append(
            f"no move turned {firm} of {pairs} pairs, of which {told} have an estimate; with it the probability is "
            f"{cell(flips.probability)}"
        )
    return "\n".join(lines)


def emit_cache(found: CacheInfo, word: str, *, as_json: bool) -> None:
    """Print what the cache holds, or held."""
    rows = [[s.identity, s.rows, s.bytes / 1e6, s.idle_days] for s in found.spaces]
    text = f"{found.folder}: {found.rows} vectors {word}, {found.bytes / 1e6:.1f} MB"
    if rows:
        text += "\n" + table(["embedder", "vectors", "MB", "idle days"], rows)
    spaces = [dataclasses.asdict(space) for space in found.spaces]
    data = {"folder": str(found.folder), "vectors": found.rows, "bytes": found.bytes, "spaces": spaces}
    emit(data, text, as_json=as_json)
