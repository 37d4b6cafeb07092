"""The study's figures in the style of a paper: small panels, one a head, alike in scale."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from embrm.metrics.intervals import Interval
from embrm.report.figures import COLOURS, COMPARED, LINES, printed
from embrm.report.study import tables, trajectory
from embrm.report.study.charts import GOLD
from embrm.report.study.curves import GoldCurve, controls, lines, main_rule
from embrm.report.study.settings import TableSetting, hardest, rounded, settings, within
from embrm.study.results import Results

if TYPE_CHECKING:
    import altair as alt

    Figure: TypeAlias = alt.LayerChart | alt.FacetChart | alt.VConcatChart

KL = "KL (nats)"
COLUMNS = 4
CLOUD = 250  # training texts in a panel
SNAPSHOTS = 4  # steps of a training run whose latents are shown


def drawn(results: Results) -> dict[str, Figure]:
    """Return all figures by their names: of every data set under its hardest setting, and of every training run."""
    found = settings(results)
    figures = {}
    for data in dict.fromkeys(s.dataset for s in found):
        for name, figure in _dataset(within(results, setting := hardest(found, data)), setting):
            figures[_file(data, name)] = figure
    for title, run in zip(trajectory.titles(results), trajectory.runs(results), strict=True):
        figures[_file(title, "run")] = _run(run)
        if run["latent"]:
            figures[_file(title, "latents")] = _latents(run)
    return figures


def _file(*words: str) -> str:
    return "-".join(re.sub(r"\W+", "-", word).strip("-").lower() for word in words)


def _dataset(results: Results, setting: TableSetting) -> Iterator[tuple[str, Figure]]:
    every = list(lines(results, setting, "path"))
    if every:
        yield "path", _gold_and_proxy(results, _main(results, setting, every))
    ruled = [line for line in every if sum(line.head == other.head for other in every) > 1]
    if ruled:
        yield "rules", _rules(results, ruled)
    chosen = _main(results, setting, list(lines(results, setting, "bon")))
    if chosen:
        beside = list(controls(results, setting.dataset, "bon"))
        yield "best-of-n", _best_of_n(results.sizes(setting.dataset), chosen, beside)
    bins = tables.reliability(results, setting)
    if bins:
        yield "reliability", _reliability(bins)


def _main(results: Results, setting: TableSetting, every: Sequence[GoldCurve]) -> list[GoldCurve]:
    """Return the line of each head that tables tell of."""
    return [line for line in every if line.rule == main_rule(results, setting, line.head)]


def _points(line: GoldCurve, x: Sequence[float], *, name: str, band: Interval | None = None) -> list[dict[str, Any]]:
    """Return the points of a line's gold, or of another band, as far as it reaches."""
    columns = [rounded(getattr(band or line.gold, part)) for part in ("estimate", "low", "high")]
    return [
        {"head": line.head, "line": name, "x": at, "y": y, "low": low, "high": high}
        for at, y, low, high in zip(x, *columns, strict=False)
    ]


def _kl(results: Results) -> list[float]:
    return [float(x) for x in np.linspace(0, results.config.kl_end, results.config.kl_points).round(4)]


def _gold_and_proxy(results: Results, main: Sequence[GoldCurve]) -> alt.FacetChart:
    x, rows = _kl(results), []
    for line in main:
        rows += _points(line, x, name="gold")
        if line.proxy is not None:
            rows += _points(line, x, name="proxy (sd)", band=line.proxy)
    colours = {"gold": (LINES["gold"][0], [1, 0]), "proxy (sd)": (LINES["proxy"][0], [5, 3])}
    return _panels(rows, colours, x=KL, y="gained over the reference")


def _best_of_n(sizes: Sequence[float], main: Sequence[GoldCurve], beside: Sequence[GoldCurve]) -> alt.FacetChart:
    rows = [point for line in main for point in _points(line, sizes, name="the head")]
    for other in beside:
        points = _points(other, sizes, name=other.head)
        rows += [{**p, "head": line.head, "low": p["y"], "high": p["y"]} for line in main for p in points]
    colours = {"the head": (LINES["gold"][0], [1, 0])} | {name: (c, [5, 3]) for name, c in COMPARED.items()}
    return _panels(rows, colours, x="n", y=GOLD, log=True)


def _rules(results: Results, ruled: Sequence[GoldCurve]) -> alt.FacetChart:
    rows = [point for line in ruled for point in _points(line, _kl(results), name=line.rule)]
    names = list(dict.fromkeys(line.rule for line in ruled))
    dashes = ([1, 0], [6, 2], [2, 2])
    colours = {
        name: (COLOURS[i % len(COLOURS)], dashes[i // len(COLOURS) % len(dashes)]) for i, name in enumerate(names)
    }
    return _panels(rows, colours, x=KL, y=GOLD)


def _panels(
    rows: Sequence[dict[str, Any]], colours: dict[str, tuple[str, list[int]]], *, x: str, y: str, log: bool = False
) -> alt.FacetChart:
    """Return one panel a head with its lines and their bands."""
    import altair as alt

    used = [name for name in colours if any(row["line"] == name for row in rows)]
    legend = alt.Legend(title=None, orient="top", symbolSize=300, symbolStrokeWidth=2, symbolType="stroke", columns=6)
    hues = alt.Scale(domain=used, range=[colours[n][0] for n in used])
    colour = alt.Color("line:N", scale=hues, legend=legend)
    dash = alt.StrokeDash("line:N", scale=alt.Scale(domain=used, range=[colours[n][1] for n in used]), legend=legend)
    scale = alt.Scale(type="log", base=2, nice=False) if log else alt.Scale(nice=False)
    base = alt.Chart().encode(x=alt.X("x:Q", title=x, scale=scale, axis=alt.Axis(format="~g", tickCount=4)))
    fill = alt.Fill("line:N", scale=hues, legend=None)
    band = base.mark_area(opacity=0.15).encode(y=alt.Y("low:Q", title=y), y2="high:Q", fill=fill)
    line = base.mark_line(strokeWidth=1.6).encode(y=alt.Y("y:Q", title=y), color=colour, strokeDash=dash)
    panel = alt.LayerChart(data=alt.InlineData(values=list(rows)), layer=[band, line]).properties(width=150, height=110)
    return _by_head(panel, [row["head"] for row in rows])


def _by_head(panel: alt.LayerChart, heads: Sequence[str]) -> alt.FacetChart:
    import altair as alt

    header = alt.Header(title=None, labelFontSize=11, labelFontStyle="italic", labelPadding=2)
    facet = alt.Facet("head:N", header=header, sort=list(dict.fromkeys(heads)))
    figure: alt.FacetChart = printed(panel.facet(facet=facet, columns=COLUMNS))
    return figure


def _reliability(bins: dict[str, Any]) -> alt.FacetChart:
    import altair as alt

    rows = [
        {"head": head, "x": c, "y": a, "weight": w}
        for head, columns in bins.items()
        for c, a, w in zip(*rounded(columns), strict=True)
        if w
    ]
    x = alt.X("x:Q", title="confidence", scale=alt.Scale(domain=[0.5, 1]), axis=alt.Axis(tickCount=3))
    y = alt.Y("y:Q", title="share ordered correctly", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(tickCount=5))
    base = alt.Chart().encode(x=x, y=y)
    diagonal = base.mark_line(color="#777777", strokeDash=[2, 3], strokeWidth=1).encode(y=alt.Y("x:Q"))
    line = base.mark_line(color=LINES["proxy"][0], strokeWidth=1.6)
    size = alt.Size("weight:Q", scale=alt.Scale(range=[10, 120]), legend=None)
    dots = base.mark_circle(color=LINES["proxy"][0], opacity=0.8).encode(size=size)
    panel = alt.LayerChart(data=alt.InlineData(values=rows), layer=[diagonal, line, dots]).properties(
        width=120, height=120
    )
    return _by_head(panel, list(bins))


def _run(run: dict[str, Any]) -> alt.VConcatChart:
    """Return proxy, gold and KL of a training run, one below the other."""
    import altair as alt

    panels = []
    for name in ("proxy", "gold", "kl"):
        rows = [{"step": step, "y": y} for step, y in zip(run["number"], run[name], strict=True)]
        line = alt.Chart(alt.InlineData(values=rows)).mark_line(
            strokeWidth=1.6, color=LINES.get(name, LINES["random"])[0]
        )
        title = "KL (nats)" if name == "kl" else name
        scale = alt.Scale(nice=False)
        panels.append(
            line.encode(
                x=alt.X("step:Q", scale=scale, title="step" if name == "kl" else None),
                y=alt.Y("y:Q", title=title, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=4)),
            ).properties(width=360, height=90)
        )
    figure: alt.VConcatChart = printed(alt.vconcat(*panels))
    return figure


def _latents(run: dict[str, Any]) -> alt.FacetChart:
    """Return the latents of training texts and of the policy's at a few steps."""
    import altair as alt

    at = np.linspace(0, len(run["latent"]) - 1, min(SNAPSHOTS, len(run["latent"]))).round().astype(int)
    names = [f"step {run['number'][i]}" for i in at]
    rows = [
        {"head": name, "of": of, "x": x, "y": y}
        for i, name in zip(at, names, strict=True)
        for of, points in (("training", run["cloud"][:CLOUD]), ("policy", run["latent"][i]))
        for x, y in points
    ]
    scale = alt.Scale(domain=["training", "policy"], range=["#bbbbbb", LINES["gold"][0]])
    span = alt.Scale(zero=False)
    panel = (
        alt.Chart()
        .mark_circle(size=12, opacity=0.7)
        .encode(
            x=alt.X("x:Q", title="first principal axis", scale=span, axis=alt.Axis(tickCount=4)),
            y=alt.Y("y:Q", title="second principal axis", scale=span, axis=alt.Axis(tickCount=4)),
            color=alt.Color("of:N", scale=scale, legend=alt.Legend(title=None, orient="top")),
        )
    )
    layered = alt.LayerChart(data=alt.InlineData(values=rows), layer=[panel]).properties(width=140, height=140)
    return _by_head(layered, names)
