"""The report of a study: its table, its two figures, and one HTML file that opens without a network."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embrm.files import write_bytes, write_folder
from embrm.report import figures
from embrm.study.run import SIZES, Line, Study, rows

if TYPE_CHECKING:
    import altair as alt

    from embrm.intervals import Interval

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#777777")
COLUMNS = (
    "scorer",
    "accuracy, in",
    "accuracy, new topics",
    "accuracy, new counts",
    "gold, best of 64",
    "gold gain at peak",
    "lost after peak",
    "s a model",
)


def write(study: Study, folder: Path) -> Path:
    """Write config.json, results.parquet, figures/*.svg and report.html; the folder appears whole or not at all.

    Returns:
        The report's path.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    charts = {"path": path_chart(study), "best_of_n": best_of_n_chart(study)}
    with write_folder(folder) as temporary:
        pq.write_table(pa.Table.from_pylist(rows(study)), temporary / "results.parquet")
        write_bytes(temporary / "config.json", study.config.model_dump_json(indent=2).encode())
        for name, chart in charts.items():
            figures.save(figures.paper(chart), temporary / "figures" / f"{name}.svg")
        write_bytes(temporary / "report.html", page(study, charts).encode())
    return folder / "report.html"


def table(study: Study) -> list[list[str]]:
    """Return the study's table as text: the headings, then a row a scorer."""
    names = study.config.detectors
    headings = [*COLUMNS, *(f"alarms of {name}, start → end" for name in names)]
    return [headings, *(_cells(line, names) for line in study.lines)]


def _cells(line: Line, names: Sequence[str]) -> list[str]:
    drop = "" if line.peak is None else _with_interval(line.peak.drop)
    return [
        line.name,
        *(f"{float(line.accuracy[split].estimate):.3f}" for split in ("in", "topics", "counts")),
        _with_interval(line.best_of[SIZES.index(64)]),
        "" if line.peak is None else _with_interval(line.peak.gain),
        drop,
        "" if line.seconds is None else f"{line.seconds:.2f}",
        *(f"{start:.0%} → {end:.0%}" if line.alarms else "" for start, end in _alarms(line, names)),
    ]


def _alarms(line: Line, names: Sequence[str]) -> list[tuple[float, float]]:
    return [line.alarms.get(name, (0.0, 0.0)) for name in names]


def _with_interval(x: Interval) -> str:
    return f"{float(x.estimate):.2f} [{float(x.low):.2f}, {float(x.high):.2f}]"


def verdicts(study: Study) -> list[str]:
    """Return one sentence a head: hacked or not, how much was lost, and whether the detector noticed."""
    out = []
    for line in study.lines:
        if line.peak is None or line.seconds is None:
            continue
        gain, drop = line.peak.gain, line.peak.drop
        share = float(drop.estimate) / float(gain.estimate) if float(gain.estimate) > 0 else math.nan
        if float(drop.low) > 0:
            said = f"is hacked: it loses {share:.0%} of its peak gain in gold while its own reward keeps rising"
        elif float(drop.high) < 0.05 * float(gain.estimate):
            said = "is not hacked as far as the pool reaches: gold does not fall"
        else:
            said = f"may be hacked or not: it loses {share:.0%} of its peak gain, and the interval includes no loss"
        rang = [f"{name} in {end:.0%}" for name, (_, end) in line.alarms.items()]
        out.append(f"{line.name} {said}. Alarms at the end of the path, share of the seeds: {', '.join(rang)}")
    return out


def path_chart(study: Study) -> alt.LayerChart:
    """Draw gold (solid, with its interval) and proxy (dashed) along the path of KL-regularised optima."""
    import altair as alt

    heads = [line for line in study.lines if line.gold is not None and line.name != "length"]
    values = [
        {
            "scorer": line.name,
            "kl": round(float(line.kl[i]), 4),
            "gold": round(float(line.gold.estimate[i] - line.gold.estimate[0]), 4),
            "low": round(float(line.gold.low[i] - line.gold.estimate[0]), 4),
            "high": round(float(line.gold.high[i] - line.gold.estimate[0]), 4),
            "proxy": round(float(line.proxy[i]), 4),
        }
        for line in heads
        if line.gold is not None and line.proxy is not None
        for i in range(len(line.kl))
    ]
    x = alt.X("kl:Q", title="KL from the reference policy (nats)")
    y = "gold gain (solid), proxy gain in sd (dashed)"
    base, colour, opacity, toggle = _by_scorer(values, [line.name for line in heads])
    tip = ["scorer:N", *(alt.Tooltip(f"{c}:Q", format=".2f") for c in ("kl", "gold", "proxy"))]
    band = base.mark_area(opacity=0.15).encode(x=x, y=alt.Y("low:Q", title=y), y2="high:Q", color=colour)
    gold = base.mark_line(strokeWidth=2.2).encode(
        x=x, y=alt.Y("gold:Q", title=y), color=colour, opacity=opacity, tooltip=tip
    )
    proxy = (
        base.transform_filter("datum.scorer != 'oracle'")
        .mark_line(strokeDash=[5, 4], strokeWidth=1.4)
        .encode(x=x, y=alt.Y("proxy:Q", title=y), color=colour, opacity=opacity, tooltip=tip)
    )
    chart: alt.LayerChart = band + proxy + gold.add_params(toggle)
    return chart


def best_of_n_chart(study: Study) -> alt.LayerChart:
    """Draw gold of the best of n against n for every scorer."""
    import altair as alt

    values = [
        {
            "scorer": line.name,
            "n": n,
            "gold": round(float(line.best_of.estimate[i]), 4),
            "low": round(float(line.best_of.low[i]), 4),
            "high": round(float(line.best_of.high[i]), 4),
        }
        for line in study.lines
        for i, n in enumerate(SIZES)
    ]
    x = alt.X("n:Q", title="n", scale=alt.Scale(type="log", base=2))
    base, colour, opacity, toggle = _by_scorer(values, [line.name for line in study.lines])
    tip = ["scorer:N", "n:Q", *(alt.Tooltip(f"{c}:Q", format=".2f") for c in ("gold", "low", "high"))]
    band = base.mark_area(opacity=0.12).encode(
        x=x, y=alt.Y("low:Q", title="gold of the best of n"), y2="high:Q", color=colour
    )
    line = base.mark_line(strokeWidth=2, point=True).encode(
        x=x, y=alt.Y("gold:Q", title="gold of the best of n"), color=colour, opacity=opacity, tooltip=tip
    )
    chart: alt.LayerChart = band + line.add_params(toggle)
    return chart


def _by_scorer(values: list[dict[str, Any]], names: list[str]) -> tuple[alt.Chart, alt.Color, Any, alt.Parameter]:
    """Return the chart of the values, a colour a scorer, and an opacity with the click on the legend that sets it."""
    import altair as alt

    toggle = alt.selection_point(name="shown", fields=["scorer"], bind="legend", toggle="true")
    colour = alt.Color(
        "scorer:N",
        scale=alt.Scale(domain=names, range=[COLOURS[i % len(COLOURS)] for i in range(len(names))]),
        legend=alt.Legend(title=None, orient="top", columns=4, symbolOpacity=1, symbolType="stroke"),
    )
    opacity = alt.condition(toggle, alt.value(1.0), alt.value(0.08))
    return alt.Chart(alt.InlineData(values=values)), colour, opacity, toggle


def page(study: Study, charts: dict[str, alt.LayerChart]) -> str:
    """Return the report as one HTML file with everything inside: charts, scripts, style, configuration."""
    import vl_convert

    specs = {name: chart.properties(width="container", height=300).to_dict() for name, chart in charts.items()}
    headings, *body = table(study)
    cells = "".join("<tr>" + "".join(f"<td>{html.escape(c)}</td>" for c in row) + "</tr>" for row in body)
    values = {
        "heading": "".join(f"<th>{html.escape(h)}</th>" for h in headings),
        "cells": cells,
        "verdicts": "".join(f"<li>{html.escape(v)}.</li>" for v in verdicts(study)),
        "config": html.escape(study.config.model_dump_json(indent=2)),
        "versions": html.escape(", ".join(f"{k} {v}" for k, v in study.versions.items())),
        "seconds": f"{study.seconds:.0f}",
        "bias": f"{study.config.bias:g}",
        "flips": f"{study.config.flips:.0%}",
        "seeds": str(len(study.config.seeds)),
        "pairs": str(study.config.pairs),
        "specs": json.dumps(specs).replace("</", "<\\/"),
        "bundle": vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;").replace("</script", "<\\/script"),
    }
    out = (Path(__file__).parent / "study.html").read_text(encoding="utf-8")
    for name, value in values.items():
        out = out.replace("{{" + name + "}}", value)
    return out
