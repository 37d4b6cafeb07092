"""What a command prints: aligned tables for people, one JSON object for programs, warnings on standard error."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TextIO

import click

if TYPE_CHECKING:
    from embrm.evaluate import Interval, PairReport, PoolReport

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
        click.echo(f"warning: {message}", err=True)


def emit(data: Mapping[str, Any], text: str, *, as_json: bool) -> None:
    """Print `data` with the warnings as one JSON object, or `text`."""
    if as_json:
        click.echo(json.dumps({**_plain(data), "warnings": _warned}, ensure_ascii=False, allow_nan=False, indent=2))
    else:
        click.echo(text)


def _plain(value: Any) -> Any:
    """Return JSON-ready data; NaN and infinity, which JSON does not have, become null."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
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
        return "–" if math.isnan(value) else f"{value:.4g}"
    return str(value)


def pair_table(report: PairReport) -> str:
    """Return accuracy, NLL and ECE with their intervals."""
    rows = [
        [name, *(float(v) for v in (line.value, line.low, line.high))]
        for name, line in (("accuracy", report.accuracy), ("NLL", report.nll), ("ECE", report.ece))
    ]
    return f"{report.pairs} pairs of {report.prompts} prompts\n" + table(["", "value", "2.5 %", "97.5 %"], rows)


def pool_table(report: PoolReport) -> str:
    """Return the best-of-n curve at powers of two and at its end."""
    last = len(report.sizes) - 1
    shown = [i for i, n in enumerate(report.sizes) if i == last or math.log2(n).is_integer()]
    rows = [
        [
            report.sizes[i].item(),
            float(report.kl[i]),
            *(float(report.reward[name].value[i]) for name in ("proxy", "gold")),
            _range(report.reward["gold"], i),
            *(float(report.reward[name].value[i]) for name in ("oracle", "random")),
            float(report.of_oracle.value[i]),
        ]
        for i in shown
    ]
    header = ["n", "KL", "proxy", "gold", "95 %", "oracle", "random", "of oracle"]
    return f"{report.prompts} prompts\n" + table(header, rows)


def _range(line: Interval, i: int) -> str:
    return f"{cell(float(line.low[i]))} … {cell(float(line.high[i]))}"
