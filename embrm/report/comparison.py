"""The table of a comparison of heads: as text cells, and as a file in Markdown, CSV, HTML or JSON."""

from __future__ import annotations

import csv
import html
import io
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from embrm.core.files import check_writable, write_bytes
from embrm.errors import OptionError
from embrm.evaluation.compare import HeadComparison, HeadDifference, HeadLine
from embrm.metrics.intervals import Interval

MISSING = "–"


def check(path: str | Path) -> None:
    """Check, before any work, that a table can be written there.

    Raises:
        OptionError: the ending is none of .md, .csv, .html, .json, or the place cannot be written.
    """
    ending = Path(path).suffix
    if ending not in _WRITERS:
        known = ", ".join(_WRITERS)
        raise OptionError(f"a table is written as {known}, got '{path}'; give the file one of these endings")
    check_writable(path)


def save(found: HeadComparison, path: str | Path) -> None:
    """Write a comparison in the format that the ending names.

    Raises:
        OptionError: see `check`.
    """
    check(path)
    write_bytes(Path(path), _WRITERS[Path(path).suffix](found).encode())


def title(found: HeadComparison) -> str:
    """Return one line: what was compared, and how."""
    seeds = f"{found.seeds} seed{'s' * (found.seeds > 1)}"
    tried = f"{found.budget} recipe{'s' * (found.budget > 1)} tried for each fold"
    return f"{found.pairs} pairs of {found.prompts} prompts, {found.folds} folds by prompt, {seeds}, {tried}"


def cells(found: HeadComparison) -> tuple[list[str], list[list[str]]]:
    """Return header and rows by rank; p-values are those after Holm's correction."""
    minus = f"minus {found.baseline}, 95 %"
    header = ["rank", "head", "accuracy, 95 %", "NLL", "ECE", "seconds per fit"]
    header += [f"accuracy {minus}", "p (Holm)", f"NLL {minus}", "p (Holm)"]
    rows = []
    for rank, name in enumerate(found.ranked, start=1):
        line = found.lines[name]
        ahead = [cell for measure in ("accuracy", "nll") for cell in _difference(line.ahead.get(measure))]
        numbers = [_number(float(line.nll.estimate)), _number(float(line.ece.estimate)), _number(line.seconds)]
        rows.append([str(rank), name, _interval(line.accuracy), *numbers, *ahead])
    return header, rows


def _difference(found: HeadDifference | None) -> tuple[str, str]:
    return (MISSING, MISSING) if found is None else (_interval(found.value), _number(found.holm))


def _interval(line: Interval) -> str:
    value, low, high = (_number(float(x)) for x in (line.estimate, line.low, line.high))
    return f"{value} ({low} … {high})"


def _number(value: float) -> str:
    return MISSING if math.isnan(value) else f"{0.0 if abs(value) < 1e-12 else value:.3g}"  # rounding is no result


def _markdown(found: HeadComparison) -> str:
    header, rows = cells(found)

    def line(parts: Sequence[str]) -> str:
        return f"| {' | '.join(part.replace('|', chr(92) + '|') for part in parts)} |"

    notes = [f"- {note}" for note in _notes(found)]
    body = [line(header), line(["---"] * len(header)), *map(line, rows)]
    return "\n".join([title(found), "", *body, *([""] if notes else []), *notes]) + "\n"


def _csv(found: HeadComparison) -> str:
    text = io.StringIO()
    lines = [
        {"rank": rank, "head": name, **_numbers(found.lines[name])} for rank, name in enumerate(found.ranked, start=1)
    ]
    writer = csv.DictWriter(text, list(lines[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(lines)
    return text.getvalue()


def _numbers(line: HeadLine) -> dict[str, float | str]:
    """Return a line's numbers under names for columns; what is not there is empty."""
    out: dict[str, float | str] = {}
    for name in ("accuracy", "nll", "ece"):
        out |= _bounds(name, getattr(line, name))
    out["seconds"] = "" if math.isnan(line.seconds) else line.seconds
    for name in ("accuracy", "nll"):
        there = line.ahead.get(name)
        prefix = f"{name}_minus_first"
        out |= _bounds(prefix, there.value if there else None)
        out |= {f"{prefix}_p": there.p if there else "", f"{prefix}_p_holm": there.holm if there else ""}
    return out


def _bounds(name: str, line: Interval | None) -> Mapping[str, float | str]:
    parts = {name: "estimate", f"{name}_low": "low", f"{name}_high": "high"}
    return {column: "" if line is None else float(getattr(line, part)) for column, part in parts.items()}


def _html(found: HeadComparison) -> str:
    header, rows = cells(found)

    def line(parts: Sequence[str], tag: str) -> str:
        return f"<tr>{''.join(f'<{tag}>{html.escape(part)}</{tag}>' for part in parts)}</tr>"

    style = "body{font:16px sans-serif}table{border-collapse:collapse}td,th{padding:.2em .7em;text-align:left}"
    notes = [f"<p>{html.escape(note)}</p>" for note in _notes(found)]
    head = f'<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>Heads compared</title><style>{style}</style>'
    body = [line(header, "th"), *(line(row, "td") for row in rows)]
    return (
        "\n".join([head, f"<p>{html.escape(title(found))}</p>", "<table>", *body, "</table>", *notes, "</html>"]) + "\n"
    )


def _json(found: HeadComparison) -> str:
    return json.dumps(found.as_dict(), ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def _notes(found: HeadComparison) -> list[str]:
    return [f"{name} could not be fitted: {why}" for name, why in found.failures.items()]


_WRITERS: dict[str, Callable[[HeadComparison], str]] = {
    ".md": _markdown,
    ".csv": _csv,
    ".html": _html,
    ".json": _json,
}
