"""The study's charts: for the page, which fills them with what is selected, and as figures in the style of a paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from embrm.report.figures import COMPARED, LINES
from embrm.report.study.hero import hero, strip

if TYPE_CHECKING:
    import altair as alt

KL = "KL from the reference policy (nats)"
GOLD = "gold gained"
PROXY = "proxy gained (sd)"
# Readable on white and on near-black. With dashes and markers no two of the first 120 lines are alike.
COLOURS = ("#d9601a", "#3a84c9", "#b4649a", "#b98200", "#7d70d8", "#2a9d8f", "#a3694a", "#5f8f2f")
DASHES = ([1, 0], [7, 3], [2, 2.5])
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross")
_FADED = "#888888"
LIMIT = 112  # pixels for the name beside a line's end
_PADDING = {"left": 4, "top": 6, "bottom": 4, "right": 12}  # the names count in the width by themselves


def style(names: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return colour, dash and marker of every line; no two are alike, and controls have colours of their own."""
    own = [name for name in names if name not in COMPARED]
    found = {
        name: {"colour": COLOURS[i % len(COLOURS)], "dash": DASHES[i % len(DASHES)], "shape": SHAPES[i % len(SHAPES)]}
        for i, name in enumerate(own)
    }
    beside = [name for name in names if name in COMPARED]
    return found | {
        name: {"colour": COMPARED[name], "dash": [5, 3], "shape": SHAPES[i % len(SHAPES)]}
        for i, name in enumerate(beside)
    }


def specifications() -> dict[str, dict[str, Any]]:
    """Return the page's charts by the name of the place they go to; their data, `shown` and `now`, come later."""
    size = "best of n"
    charts = {
        "hero": hero(),
        "strip": strip(),
        "gold": _curves("kl", KL, GOLD, band="95 % interval"),
        "proxy": _curves("kl", KL, PROXY),
        "best-of-n": _curves("n", size, GOLD, band="95 % interval", log=True),
        **{f"all-{name}": _curves("step", "step", name, band="over seeds") for name in ("proxy", "gold")},
        "reliability": _reliability(),
        **{name: _panel(title) for name, title in RUN.items()},
        "space": _space(),
    }
    return {name: chart.to_dict() for name, chart in charts.items()}


RUN = {"run-proxy": "proxy", "run-gold": "gold", "run-kl": "KL (nats)", "run-watch": "detector"}


def _shown() -> alt.Chart:
    import altair as alt

    return alt.Chart(alt.NamedData("shown"))


def _own(colour: str = "colour:N") -> dict[str, Any]:
    """Return the channels by which every row brings its line's name, colour and dash."""
    import altair as alt

    return {
        "color": alt.Color(colour, scale=None),
        "strokeDash": alt.StrokeDash("dash:N", scale=None),
        "detail": "line:N",
    }


def _named(x: str, y: str, own: dict[str, Any]) -> list[alt.Chart]:
    """Return the markers of lines at some of their points, and their names beside their ends."""
    import altair as alt

    shape = alt.Shape("shape:N", scale=None)
    markers = _shown().transform_filter("datum.marked").mark_point(filled=True, size=46, opacity=1)
    ends = alt.Chart(alt.NamedData("ends")).mark_text(
        align="left", baseline="middle", dx=8, fontSize=12, limit=LIMIT, color="currentColor"
    )
    return [
        markers.encode(x=f"{x}:Q", y=y, color=own["color"], shape=shape),
        ends.properties(name="ends").encode(x=f"{x}:Q", y="at:Q", text="line:N"),
    ]


def _curves(x: str, x_title: str, y_title: str, *, band: str | None = None, log: bool = False) -> alt.LayerChart:
    import altair as alt

    scale = alt.Scale(type="log", base=2, nice=False) if log else alt.Scale(nice=False)
    axis = alt.X(f"{x}:Q", title=x_title, scale=scale, axis=alt.Axis(format="~g", labelFlush=True, tickCount=8))
    base = _shown().encode(x=axis)
    tip = [alt.Tooltip("line:N", title=" "), alt.Tooltip(f"{x}:Q", format=".3~g", title=x.replace("kl", "KL"))]
    tip += [alt.Tooltip("y:Q", format=".2f", title=y_title)]
    if band:
        tip += [alt.Tooltip("interval:N", title=band)]
    y = alt.Y("y:Q", title=y_title)
    own = _own()
    layers: list[alt.Chart] = [
        base.mark_line(strokeWidth=2, clip=True).encode(y=y, **own),
        # What the pointer meets: a line itself would tell of its first point alone.
        base.mark_point(filled=True, size=220, opacity=0).encode(y=y, color=own["color"], tooltip=tip),
    ]
    layers += _named(x, "y:Q", own)
    if band:
        area = base.mark_area(opacity=0.13).encode(
            y=alt.Y("low:Q", title=y_title), y2="high:Q", color=own["color"], detail="line:N"
        )
        layers.insert(0, area)
    lined: alt.LayerChart = _fitted(alt.LayerChart(layer=layers), 300).properties(padding=_PADDING)
    return lined


def _reliability() -> alt.LayerChart:
    import altair as alt

    x = alt.X("x:Q", title="confidence", scale=alt.Scale(domain=[0.5, 1]), axis=alt.Axis(format=".1f", tickCount=5))
    y = alt.Y("y:Q", title="share ordered correctly", scale=alt.Scale(domain=[0.4, 1], zero=False, clamp=True))
    own = _own()
    ends = alt.Chart(alt.InlineData(values=[{"x": v, "y": v} for v in (0.5, 1)]))
    diagonal = ends.mark_line(color=_FADED, strokeDash=[2, 3], strokeWidth=1).encode(x=x, y=y)
    base = _shown().encode(x=x, y=y)
    tip = [alt.Tooltip("line:N", title=" ")]
    tip += [alt.Tooltip(f"{n}:Q", format=f, title=t) for n, f, t in _BINS]
    size = alt.Size("weight:Q", scale=alt.Scale(range=[15, 260]), legend=None)
    dots = base.mark_circle(opacity=0.85).encode(size=size, color=own["color"], tooltip=tip)
    return _fitted(alt.LayerChart(layer=[diagonal, base.mark_line(strokeWidth=1.5).encode(**own), dots]), 300)


_BINS = (("x", ".2f", "confidence"), ("y", ".2f", "correct"), ("weight", ".1%", "of the pairs"))


def _panel(title: str) -> alt.LayerChart:
    """Return one curve of a training run, with a marker at the slider's step."""
    import altair as alt

    x = alt.X("step:Q", title="step", scale=alt.Scale(nice=False), axis=alt.Axis(format="d", labelFlush=True))
    y = alt.Y("y:Q", title=title, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=4, minExtent=34))
    base = _shown().encode(x=x)
    tip = [alt.Tooltip("step:Q"), alt.Tooltip("y:Q", format=".2f", title=title)]
    colour = {"proxy": LINES["proxy"][0], "gold": LINES["gold"][0]}.get(title, _FADED)
    line = base.mark_line(strokeWidth=2, color=_bright(colour)).encode(y=y)
    points = base.mark_point(filled=True, size=120, opacity=0).encode(y=y, tooltip=tip)
    now = alt.Chart(alt.NamedData("now"))
    marker = now.mark_rule(strokeWidth=1.2, strokeDash=[3, 2], color="currentColor", opacity=0.7).encode(x="step:Q")
    dot = now.mark_point(filled=True, size=70, color=_bright(colour), opacity=1).encode(x="step:Q", y="y:Q")
    layers = alt.LayerChart(layer=[line, points, marker.properties(name="marker"), dot])
    return _fitted(layers, 110)


def _bright(colour: str) -> str:
    """Return the page's shade of a colour of the figures."""
    return {LINES["proxy"][0]: COLOURS[1], LINES["gold"][0]: COLOURS[0]}.get(colour, colour)


def _space() -> alt.LayerChart:
    """Return where the latents of training texts and of the policy's texts lie, and the way of the policy's mean."""
    import altair as alt

    span = alt.Scale(zero=False, nice=False, padding=12)
    x = alt.X("x:Q", title="first principal axis", scale=span, axis=alt.Axis(tickCount=5))
    y = alt.Y("y:Q", title="second principal axis", scale=span, axis=alt.Axis(tickCount=5))
    # Invisible corners around all steps' texts keep the axes still while the slider moves.
    corners = alt.Chart(alt.NamedData("corners")).mark_point(opacity=0).encode(x=x, y=y)
    cloud = _shown().mark_circle(size=14, opacity=0.4, color=_FADED).encode(x=x, y=y)
    way = alt.Chart(alt.NamedData("way")).mark_line(color=COLOURS[0], strokeWidth=1.4, opacity=0.7)
    texts = alt.Chart(alt.NamedData("now")).mark_circle(size=42, opacity=0.85, color=COLOURS[0]).encode(x=x, y=y)
    layers = [corners, cloud, way.encode(x=x, y=y, order="step:Q"), texts.properties(name="texts")]
    return _fitted(alt.LayerChart(layer=layers), 340)


def _fitted(chart: alt.LayerChart, height: int) -> alt.LayerChart:
    size = {"type": "fit-x", "contains": "padding", "resize": True}  # labels of later data may be wider
    fitted: alt.LayerChart = chart.properties(width="container", height=height, autosize=size)
    return fitted
