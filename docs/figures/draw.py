"""The site's figures, light and dark, drawn from measured.json; README's is a PNG, which every page of packages shows.

python docs/figures/draw.py [FOLDER]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import altair as alt
import vl_convert

HERE = Path(__file__).resolve().parent
Measured: TypeAlias = Mapping[str, Any]
GOLD, PROXY, THIRD, GREY = "#D55E00", "#3B8FC7", "#00996F", "#8A8A8A"  # Okabe and Ito, to be seen on white and on black
KL = "KL from the reference policy (nats)"
GOLD_TITLE = "gold reward (points)"


def turning(found: Measured) -> alt.LayerChart:
    """Draw the proxy and gold along KL, each on its own axis."""
    x = alt.X("kl:Q", title=KL, scale=alt.Scale(domain=[0, 4.6]), axis=alt.Axis(values=[0, 1, 2, 3]))

    def line(name: str, colour: str, title: str, side: Literal["left", "right"]) -> alt.LayerChart:
        rows = [{"kl": kl, "value": value} for kl, value in zip(found["kl"], found[name], strict=True)]
        axis = alt.Axis(titleColor=colour, labelColor=colour, orient=side, grid=False)
        y = alt.Y("value:Q", title=title, axis=axis, scale=alt.Scale(zero=True))
        drawn = alt.Chart(alt.InlineData(values=rows)).mark_line(color=colour, strokeWidth=3).encode(x=x, y=y)
        said = {"proxy": "the learned reward", "gold": "true quality"}[name]
        end = alt.Chart(alt.InlineData(values=[{**rows[-1], "said": said}]))
        label = end.mark_text(align="left", dx=6, color=colour, fontSize=13).encode(x=x, y=y, text="said:N")
        both: alt.LayerChart = drawn + label
        return both

    left, right = line("proxy", PROXY, "learned reward (sd)", "left"), line("gold", GOLD, GOLD_TITLE, "right")
    both: alt.LayerChart = alt.layer(left, right).resolve_scale(y="independent").properties(width=520, height=240)
    return both


def mechanisms(found: Measured) -> alt.LayerChart:
    """Draw gold along KL under four mechanisms."""
    colours = dict(zip(found["gold"], (THIRD, GOLD, PROXY, GREY), strict=True))
    rows = _rows("kl", found["kl"], found["gold"])
    return labelled(rows, "kl", KL, colours, domain=[0, 5.2], ticks=[0, 1, 2, 3])


def best_of_n(found: Measured) -> alt.LayerChart:
    """Draw gold of the best of n."""
    colours = dict(zip(found["gold"], (GREY, THIRD, GOLD), strict=True))
    rows = _rows("n", found["n"], found["gold"])
    return labelled(rows, "n", "n, responses to choose among", colours, domain=[1, 800], ticks=found["n"])


def accuracy(found: Measured) -> alt.FacetChart:
    """Draw pair accuracy of three heads on three kinds of test pairs."""
    order = list(dict.fromkeys(row["pairs"] for row in found["rows"]))
    scale = alt.Scale(domain=["linear", "mlp", "inform"], range=[GREY, PROXY, GOLD])
    base = alt.Chart().encode(
        x=alt.X("accuracy:Q", title="share of clean pairs ordered correctly", scale=alt.Scale(domain=[0, 1])),
        y=alt.Y("pairs:N", title=None, sort=order),
    )
    points = base.mark_point(filled=True, size=90, opacity=0.9).encode(
        color=alt.Color("head:N", scale=scale, legend=alt.Legend(title=None)),
        shape=alt.Shape("head:N", scale=alt.Scale(domain=scale["domain"]), legend=alt.Legend(title=None)),
    )
    chance = alt.Chart().mark_rule(strokeDash=[3, 3], color=GREY).encode(x=alt.datum(0.5))
    layers = alt.layer(chance, points).properties(width=230, height=110)
    return layers.facet(column=_column("annotators", found), data=alt.InlineData(values=found["rows"]))


def detection(found: Measured) -> alt.LayerChart:
    """Draw a detector's statistic along KL; filled where its p-value is an alarm."""
    names = list(dict.fromkeys(row["annotators"] for row in found["rows"]))
    scale = alt.Scale(domain=names, range=[THIRD, GOLD])
    colour = alt.Color("annotators:N", scale=scale, legend=alt.Legend(title=None))
    base = alt.Chart(alt.InlineData(values=found["rows"])).encode(
        x=alt.X("kl:Q", title=KL), y=alt.Y("statistic:Q", title="two-sample statistic"), color=colour
    )
    alarms = base.transform_filter("datum.alarm == 'alarm'").mark_point(filled=True, size=70, opacity=1)
    others = base.transform_filter("datum.alarm != 'alarm'").mark_point(size=70)
    lines: alt.LayerChart = (base.mark_line(strokeWidth=2.5) + alarms + others).properties(width=520, height=240)
    return lines


def bottleneck(found: Measured) -> alt.FacetChart:
    """Draw gold along KL of two heads under two mechanisms."""
    names = list(dict.fromkeys(row["head"] for row in found["rows"]))
    colour = alt.Color("head:N", scale=alt.Scale(domain=names, range=[PROXY, GOLD]), legend=alt.Legend(title=None))
    line = alt.Chart().mark_line(strokeWidth=2.5)
    line = line.encode(x=alt.X("kl:Q", title=KL), y=alt.Y("gold:Q", title=GOLD_TITLE), color=colour)
    panels = alt.layer(line).properties(width=230, height=200)
    return panels.facet(column=_column("mechanism", found), data=alt.InlineData(values=found["rows"]))


def steps(found: Measured) -> alt.LayerChart:
    """Draw how often each way to choose gives a response without a wrong statement."""
    return bars(found, "choice", "right", "share of choices without a wrong statement")


def annotators(found: Measured) -> alt.LayerChart:
    """Draw the gain of the worst-off by each rule."""
    return bars(found, "rule", "gain", "gain of the worst-off (sd of the pool)")


def inverse(found: Measured) -> alt.LayerChart:
    """Draw the accuracy of three models, and what 0.8 of the last one's is."""
    level = 0.8 * found["rows"][-1]["accuracy"]
    rule = alt.Chart(alt.InlineData(values=[{"accuracy": level}]))
    aim = rule.mark_rule(color=GREY, strokeDash=[4, 4]).encode(x="accuracy:Q")
    both: alt.LayerChart = bars(found, "model", "accuracy", "accuracy on held-out preferences") + aim
    return both


def bars(found: Measured, of: str, value: str, title: str) -> alt.LayerChart:
    """Draw a bar with its number for each row."""
    base = alt.Chart(alt.InlineData(values=found["rows"])).encode(y=alt.Y(f"{of}:N", title=None, sort=None))
    bar = base.mark_bar(color=PROXY, height=14).encode(x=alt.X(f"{value}:Q", title=title))
    said = base.mark_text(align="left", dx=6, color=GOLD, fontSize=12)
    drawn = bar + said.encode(x=alt.X(f"{value}:Q"), text=alt.Text(f"{value}:Q", format=".2f"))
    both: alt.LayerChart = drawn.properties(width=420)
    return both


def principle(found: Measured) -> alt.LayerChart:
    """Draw gold along KL without a principle, under one, and under its negation."""
    colours = dict(zip(found["gold"], (GREY, THIRD, GOLD), strict=True))
    rows = _rows("kl", found["kl"], found["gold"])
    return labelled(rows, "kl", KL, colours, domain=[0, 5.2], ticks=[0, 1, 2, 3])


def self_training(found: Measured) -> alt.LayerChart:
    """Draw pair accuracy by the number of labels, of three ways to learn."""
    names = list(dict.fromkeys(row["learner"] for row in found["rows"]))
    colour = alt.Color("learner:N", scale=alt.Scale(domain=names, range=[GREY, PROXY, GOLD]))
    base = alt.Chart(alt.InlineData(values=found["rows"])).encode(
        x=alt.X(
            "labels:Q",
            title="labelled pairs",
            scale=alt.Scale(type="log", base=2),
            axis=alt.Axis(values=[250, 500]),
        ),
        y=alt.Y("accuracy:Q", title="share of clean pairs ordered correctly", scale=alt.Scale(zero=False)),
        color=colour.legend(title=None),
    )
    lines: alt.LayerChart = (
        base.mark_line(strokeWidth=2.5) + base.mark_point(filled=True, size=70, opacity=1)
    ).properties(width=420, height=240)
    return lines


def stress(found: Measured) -> alt.LayerChart:
    """Draw how often each change of a text is accepted, under two kinds of annotators; one half dashed."""
    names = list(dict.fromkeys(row["annotators"] for row in found["rows"]))
    biased = {row["probe"]: row["accepted"] for row in found["rows"] if row["annotators"] == names[-1]}
    order = sorted(biased, key=lambda name: -biased[name])
    base = alt.Chart(alt.InlineData(values=found["rows"])).encode(
        x=alt.X("accepted:Q", title="share of changed texts that the reward accepts", scale=alt.Scale(domain=[0, 1])),
        y=alt.Y("probe:N", title=None, sort=order),
    )
    half = alt.Chart(alt.InlineData(values=[{"accepted": 0.5}])).mark_rule(color=GREY, strokeDash=[4, 4])
    legend = alt.Legend(title=None, orient="top")
    colour = alt.Color("annotators:N", scale=alt.Scale(domain=names, range=[THIRD, GOLD]), legend=legend)
    shapes = alt.Scale(domain=names, range=["circle", "square"])
    shape = alt.Shape("annotators:N", scale=shapes, legend=legend)
    points = base.mark_point(filled=True, size=90, opacity=1).encode(color=colour, shape=shape)
    drawn: alt.LayerChart = (half.encode(x="accepted:Q") + points).properties(width=420, height=220)
    return drawn


def labelled(
    rows: Sequence[Mapping[str, Any]],
    x: str,
    x_title: str,
    colours: Mapping[str, str],
    *,
    domain: list[float],
    ticks: list[float],
) -> alt.LayerChart:
    """Draw gold of several lines, their names at their ends."""
    colour = alt.Color("line:N", scale=alt.Scale(domain=list(colours), range=list(colours.values())), legend=None)
    scale = alt.Scale(domain=domain, type="log" if x == "n" else "linear", base=2 if x == "n" else alt.Undefined)
    across = alt.X(f"{x}:Q", title=x_title, scale=scale, axis=alt.Axis(values=ticks, titleAnchor="start"))
    up = alt.Y("gold:Q", title=GOLD_TITLE)
    base = alt.Chart(alt.InlineData(values=rows)).encode(x=across, y=up, color=colour)
    last = [max((row for row in rows if row["line"] == name), key=lambda row: row[x]) for name in colours]
    ends = alt.Chart(alt.InlineData(values=last)).mark_text(align="left", dx=8, fontSize=12)
    names = ends.encode(x=across, y=up, color=colour, text="line:N")
    lines: alt.LayerChart = (base.mark_line(strokeWidth=2.5) + names).properties(width=520, height=240)
    return lines


def _rows(x: str, at: Sequence[float], lines: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    return [{"line": name, x: a, "gold": g} for name, line in lines.items() for a, g in zip(at, line, strict=True)]


def _column(field: str, found: Measured) -> alt.Column:
    order = list(dict.fromkeys(row[field] for row in found["rows"]))
    return alt.Column(f"{field}:N", title=None, sort=order)


FIGURES: Mapping[str, Callable[[Measured], alt.LayerChart | alt.FacetChart]] = {
    figure.__name__: figure
    for figure in (
        *(turning, mechanisms, accuracy, best_of_n, detection, bottleneck),
        *(steps, annotators, inverse, principle, self_training, stress),
    )
}


def themed(chart: alt.LayerChart | alt.FacetChart, ink: str, faint: str, paper: str | None) -> str:
    """Return the specification in ink on paper; None is no paper."""
    colours = {"labelColor": ink, "titleColor": ink, "domainColor": ink, "tickColor": ink}
    styled = (
        # A reader's sans-serif may be a third wider than the one by which room for labels is made.
        chart.configure(
            font="sans-serif",
            background=paper or "transparent",
            padding={"left": 40, "right": 40, "top": 5, "bottom": 5},
        )
        .configure_view(stroke=None)
        .configure_axis(**colours, gridColor=faint, titleFontWeight="normal", titleFontSize=13, labelFontSize=12)
        .configure_axisX(grid=False)
        .configure_legend(labelColor=ink, labelFontSize=12)
        .configure_header(labelColor=ink, labelFontSize=13)
    )
    return str(styled.to_json())


def main() -> None:
    """Draw each figure twice, and the first one for README."""
    parser = argparse.ArgumentParser(description="Draw the site's figures from measured.json.")
    parser.add_argument("folder", nargs="?", type=Path, default=HERE)
    folder = parser.parse_args().folder
    measured = json.loads((HERE / "measured.json").read_text(encoding="utf-8"))
    for name, figure in FIGURES.items():
        for theme, ink, faint in (("light", "#333333", "#e6e6e6"), ("dark", "#dddddd", "#444444")):
            drawn = vl_convert.vegalite_to_svg(themed(figure(measured[name]), ink, faint, None))
            (folder / f"{name}-{theme}.svg").write_text(drawn, encoding="utf-8")
    picture = vl_convert.vegalite_to_png(themed(turning(measured["turning"]), "#333333", "#e6e6e6", "white"), scale=2)
    (folder / "turning.png").write_bytes(picture)


if __name__ == "__main__":
    main()
