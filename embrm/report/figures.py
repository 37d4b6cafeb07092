"""Figures, drawn by Altair and rendered offline by vl-convert."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from embrm.core.files import check_writable, write_file
from embrm.errors import OptionError
from embrm.evaluation.reports import PairReport, PoolReport
from embrm.evaluation.rules import RuleComparison
from embrm.report.titles import drawable

if TYPE_CHECKING:
    import altair as alt

    from embrm.metrics.calibration import CalibrationReport

_Chart = TypeVar("_Chart", "alt.LayerChart", "alt.FacetChart", "alt.VConcatChart")
FORMATS = (".svg", ".png")
# Colour-blind safe (Okabe and Ito); what is measured is dark and solid, what it is compared with is light and dashed.
LINES = {
    "gold": ("#D55E00", [1, 0]),
    "proxy": ("#0072B2", [1, 0]),
    "oracle": ("#009E73", [5, 3]),
    "random": ("#777777", [2, 3]),
}


def evaluation(report: PairReport | PoolReport) -> alt.LayerChart:
    """Draw what there is to see: the reliability diagram of pairs, the best-of-n curve of pools."""
    return reliability(report.calibration) if isinstance(report, PairReport) else best_of_n(report)


def best_of_n(report: PoolReport) -> alt.LayerChart:
    """Draw gains over a random response against KL: gold with its 95 % interval, proxy, oracle and random.

    Gains are in standard deviations of the pool, so that gold and proxy, whose units differ, share an axis.
    """
    import altair as alt

    rows = [
        {
            "line": name,
            "n": float(n),
            "kl": float(report.kl[i]),
            "gain": round(float(report.gain[name].estimate[i]), 9),
            "low": round(float(report.gain[name].low[i]), 9),
            "high": round(float(report.gain[name].high[i]), 9),
        }
        for name in LINES
        for i, n in enumerate(report.sizes)
    ]
    names = list(LINES)
    colours = alt.Scale(domain=names, range=[LINES[name][0] for name in names])
    dashes = alt.Scale(domain=names, range=[LINES[name][1] for name in names])
    x = alt.X("kl:Q", title="KL from the reference policy (nats)", scale=alt.Scale(type="sqrt"))
    gain = "gain over random (sd of the pool)"
    legend = alt.Legend(title=None, symbolSize=300, symbolStrokeWidth=2)
    base = alt.Chart(alt.InlineData(values=rows))
    band = (
        base.transform_filter("datum.line == 'gold'")
        .mark_area(opacity=0.18, color=LINES["gold"][0])
        .encode(x=x, y=alt.Y("low:Q", title=gain), y2="high:Q")
    )
    lines = base.mark_line(strokeWidth=2).encode(
        x=x,
        y=alt.Y("gain:Q", title=gain),
        color=alt.Color("line:N", scale=colours, legend=legend),
        strokeDash=alt.StrokeDash("line:N", scale=dashes, legend=legend),
        tooltip=["line:N", "n:Q", alt.Tooltip("gain:Q", format=".3f")],
    )
    return paper(band + lines)


# Rules have no order of their own; where the colours end, dashes tell them apart.
COLOURS = ("#D55E00", "#0072B2", "#CC79A7", "#E69F00", "#56B4E9", "#332288")
COMPARED = {"oracle": "#009E73", "length": "#999933", "random": "#777777"}


def rules(found: RuleComparison) -> alt.LayerChart:
    """Draw each rule's gold gain over a random response against KL, the oracle and the longest response dashed.

    The first rule has its 95 % interval; those of differences from it are in the table, because bands hide each other.
    """
    import altair as alt

    names = [name for name in found.lines if name != "random"]
    rows = [
        {
            "line": name,
            "n": int(n),
            "kl": round(float(found.lines[name].kl[i]), 9),
            **{x: round(float(getattr(found.lines[name].gain, x)[i]), 9) for x in ("estimate", "low", "high")},
        }
        for name in names
        for i, n in enumerate(found.sizes)
    ]
    colours = [COMPARED.get(name, COLOURS[i % len(COLOURS)]) for i, name in enumerate(names)]
    dashes = [
        [5, 3] if name in COMPARED else [1 + 3 * (i // len(COLOURS)), i // len(COLOURS)] for i, name in enumerate(names)
    ]
    legend = alt.Legend(title=None, symbolSize=300, symbolStrokeWidth=2, labelLimit=300)
    x = alt.X("kl:Q", title="KL from the reference policy (nats)", scale=alt.Scale(type="sqrt"))
    title = "gold gain over random (sd of the pool)"
    base = alt.Chart(alt.InlineData(values=rows)).encode(x=x)
    band = (
        base.transform_filter(alt.FieldEqualPredicate(field="line", equal=names[0]))
        .mark_area(opacity=0.15, color=colours[0])
        .encode(y=alt.Y("low:Q", title=title), y2="high:Q")
    )
    lines = base.mark_line(strokeWidth=2).encode(
        y=alt.Y("estimate:Q", title=title),
        color=alt.Color("line:N", scale=alt.Scale(domain=names, range=colours), legend=legend),
        strokeDash=alt.StrokeDash("line:N", scale=alt.Scale(domain=names, range=dashes), legend=legend),
        tooltip=["line:N", "n:Q", alt.Tooltip("estimate:Q", format=".3f")],
    )
    return paper(band + lines)


def reliability(found: CalibrationReport) -> alt.LayerChart:
    """Draw the share of pairs ordered correctly against the confidence in them; on the diagonal it is calibrated.

    Bins of confidence are as large as the pairs in them.
    """
    import altair as alt

    rows = [
        {"confidence": round(float(c), 9), "accuracy": round(float(a), 9), "pairs": float(w)}
        for c, a, w in zip(found.confidence, found.accuracy, found.weight, strict=True)
        if w > 0
    ]
    x = alt.X("confidence:Q", title="confidence in the preferred text", scale=alt.Scale(domain=[0.5, 1]))
    y = alt.Y("accuracy:Q", title="share ordered correctly", scale=alt.Scale(domain=[0, 1]))
    ends = [{"confidence": v, "accuracy": v} for v in (0.5, 1.0)]
    diagonal = alt.Chart(alt.InlineData(values=ends)).mark_line(color="#777777", strokeDash=[2, 3]).encode(x=x, y=y)
    base = alt.Chart(alt.InlineData(values=rows)).encode(x=x, y=y)
    line = base.mark_line(color=LINES["proxy"][0], strokeWidth=2)
    size = alt.Size("pairs:Q", title="pairs", scale=alt.Scale(range=[20, 400]))
    return paper(diagonal + line + base.mark_circle(color=LINES["proxy"][0], opacity=0.8).encode(size=size))


def paper(chart: alt.LayerChart) -> alt.LayerChart:
    """Return the chart in the style of a paper: serif, thin axes, no frame, a faint horizontal grid."""
    return printed(chart.properties(width=360, height=240))


def printed(chart: _Chart) -> _Chart:
    """Return a chart of any size, such as one of many panels, in the same style."""
    styled: _Chart = (
        chart.configure(font="serif", background="white")
        .configure_view(stroke=None)
        .configure_axis(titleFontWeight="normal", titleFontSize=12, labelFontSize=11, tickSize=4, domainColor="#333333")
        .configure_axisX(grid=False)
        .configure_axisY(gridColor="#eeeeee")
        .configure_legend(labelFontSize=11)
    )
    return styled


def check(path: str | Path) -> None:
    """Make sure, before any work, that a figure can be written there.

    Raises:
        OptionError: it cannot, or the name ends in neither .svg nor .png.
    """
    if Path(path).suffix.lower() not in FORMATS:
        raise OptionError(f"a figure's name must end in {' or '.join(FORMATS)}, got {path}")
    check_writable(path)


def save(chart: alt.LayerChart | alt.FacetChart | alt.VConcatChart, path: str | Path, *, follow: bool = True) -> None:
    """Write the figure as SVG, or as PNG at three times the screen's resolution, by the ending of its name.

    Raises:
        OptionError: see `check`.
    """
    import vl_convert

    check(path)
    specification = json.dumps(drawable(chart.to_dict()))
    with write_file(path, follow=follow) as part:
        if part.suffix.lower() == ".svg":
            part.write_text(vl_convert.vegalite_to_svg(specification), encoding="utf-8")
        else:
            part.write_bytes(vl_convert.vegalite_to_png(specification, scale=3))
