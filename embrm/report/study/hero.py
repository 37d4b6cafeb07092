"""The chart of the page's first screen: proxy and gold along the KL, and a detector's p-value below them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair as alt

KL = "KL from the reference policy (nats)"
PROXY, GOLD = "var(--proxy)", "var(--gold)"  # of the the page's style
LABELS = 34  # pixels for the labels of either axis, so that both charts stand below each other


def hero() -> alt.LayerChart:
    """Return proxy (left axis) and gold (right axis) against KL, their ends named, with gold's peak and the alarm.

    Its data come later: `proxy`, `gold` (rows `line`, `kl`, `y`, `low`, `high`, `colour`, `dash`, `shape`), `ends`
    of both, `corners` that set the axes, `peak` and `alarm`.
    """
    import altair as alt

    left = _side("proxy", alt.Axis(title="proxy gained (sd)", orient="left", grid=False, **_coloured("proxy")))
    right = _side("gold", alt.Axis(title="gold gained (points)", orient="right", **_coloured("gold")))
    peak = alt.Chart(alt.NamedData("peak")).encode(x=_x(), y="y:Q")
    right.layer += [
        peak.mark_point(filled=True, size=110, opacity=1, color="currentColor").properties(name="peak"),
        # The paper around it, which the page's style paints first, lets no line run through it.
        peak.mark_text(
            align="left", dx=-3, dy=-15, fontSize=12, fill="currentColor", stroke="var(--paper)", strokeWidth=4
        ).encode(text="said:N"),
    ]
    fired = alt.Chart(alt.NamedData("alarm")).encode(x=_x())
    alarm = fired.mark_rule(strokeDash=[4, 3], strokeWidth=1.5, color="currentColor").properties(name="alarm")
    layers = alt.LayerChart(layer=[alarm, left, right]).resolve_scale(y="independent")
    return _wide(layers, 300)


def strip() -> alt.LayerChart:
    """Return the p-value against KL on a logarithmic axis, with its threshold; data: `shown`, `corners`, `alarm`.

    The threshold's rows are `threshold`.
    """
    import altair as alt

    values = [0.001, 0.05, 1]
    axis = alt.Axis(title="p-value", values=values, format="~g", **_extent())
    scale = alt.Scale(type="log", domain=[0.001, 1], clamp=True)
    y = alt.Y("y:Q", axis=axis, scale=scale)
    low = alt.Y("low:Q", axis=axis, scale=scale)
    base = alt.Chart(alt.NamedData("shown")).encode(x=_x(KL))
    band = base.mark_area(opacity=0.15, color="currentColor").encode(y=low, y2="high:Q")
    line = base.mark_line(strokeWidth=2, color="currentColor").encode(y=y)
    tip = [alt.Tooltip("kl:Q", format=".2f", title="KL"), alt.Tooltip("y:Q", format=".3f", title="p")]
    dots = base.mark_point(filled=True, size=50, opacity=1, color="currentColor").encode(y=y, tooltip=tip)
    limit = alt.Chart(alt.NamedData("threshold"))
    rule = limit.mark_rule(strokeDash=[6, 3], strokeWidth=1.3, color="currentColor").encode(y=y)
    said = limit.mark_text(align="right", baseline="bottom", dx=-3, dy=-2, fontSize=11, color="currentColor")
    named = said.encode(x=alt.value("width"), y=y, text="said:N")
    corners = alt.Chart(alt.NamedData("corners")).mark_point(opacity=0).encode(x=_x(KL))
    fired = alt.Chart(alt.NamedData("alarm")).encode(x=_x(KL))
    alarm = [
        fired.mark_rule(strokeDash=[4, 3], strokeWidth=1.5, color="currentColor").properties(name="alarm"),
        fired.mark_text(align="left", dx=5, fontSize=12, color="currentColor").encode(y=alt.value(7), text="said:N"),
    ]
    blank = alt.Axis(title=" ", orient="right", labels=False, ticks=False, domain=False, grid=False, **_extent())
    empty = alt.Chart(alt.NamedData("corners")).mark_point(opacity=0).encode(x=_x(KL), y=alt.Y("y:Q", axis=blank))
    shown = alt.LayerChart(layer=[band, line, dots, rule, named, corners])
    return _wide(alt.LayerChart(layer=[shown, empty, *alarm]).resolve_scale(y="independent"), 78)


def _x(title: str | None = None) -> alt.X:
    import altair as alt

    axis = alt.Axis(title=title, format="~g", tickCount=6) if title else alt.Axis(title=None, labels=False, tickCount=6)
    return alt.X("kl:Q", axis=axis, scale=alt.Scale(nice=False, zero=False))


def _side(data: str, axis: alt.Axis) -> alt.LayerChart:
    """Return the lines of one axis with their bands, markers, names and tooltips."""
    import altair as alt

    y = alt.Y("y:Q", axis=axis, scale=alt.Scale(nice=False, zero=False))
    base = alt.Chart(alt.NamedData(data)).encode(x=_x())
    colour, dash = alt.Color("colour:N", scale=None), alt.StrokeDash("dash:N", scale=None)
    low = alt.Y("low:Q", axis=axis, scale=alt.Scale(nice=False, zero=False))
    tip = [alt.Tooltip("line:N", title=" "), alt.Tooltip("kl:Q", format=".2f", title="KL")]
    tip += [alt.Tooltip("y:Q", format=".2f", title=data), alt.Tooltip("interval:N", title="95 % interval")]
    marks = base.transform_filter("datum.marked").mark_point(filled=True, size=50, opacity=1)
    ends = alt.Chart(alt.NamedData(f"{data}_ends")).mark_text(align="left", baseline="middle", dx=8, fontSize=12)
    corners = alt.Chart(alt.NamedData(f"{data}_corners")).mark_point(opacity=0).encode(x=_x(), y=y)
    return alt.LayerChart(
        layer=[
            base.mark_area(opacity=0.14).encode(y=low, y2="high:Q", color=colour, detail="line:N"),
            base.mark_line(strokeWidth=2.5).encode(y=y, color=colour, strokeDash=dash, detail="line:N"),
            marks.encode(y=y, color=colour, shape=alt.Shape("shape:N", scale=None)),
            base.mark_point(filled=True, size=200, opacity=0).encode(y=y, color=colour, tooltip=tip),
            ends.properties(name=f"{data}-ends").encode(x=_x(), y="at:Q", text="said:N", color=colour),
            corners,
        ]
    )


def _extent() -> dict[str, Any]:
    return {"minExtent": LABELS, "maxExtent": LABELS}


def _coloured(line: str) -> dict[str, Any]:
    return {"titleColor": {"proxy": PROXY, "gold": GOLD}[line], "tickCount": 5, "format": "~g", **_extent()}


def _wide(chart: alt.LayerChart, height: int) -> alt.LayerChart:
    size = {"type": "fit-x", "contains": "padding", "resize": True}
    found: alt.LayerChart = chart.properties(width="container", height=height, autosize=size, padding=4)
    return found
