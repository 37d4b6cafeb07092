"""The figure of a policy under pressure: what the proxy says and what the gold says, against KL."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from embrm.report.figures import LINES, paper

if TYPE_CHECKING:
    import altair as alt


def along_kl(rows: Sequence[Mapping[str, Any]]) -> alt.LayerChart:
    """Draw proxy and gold, each as gain over its first value, against KL.

    Args:
        rows: of a path or a run, with `kl`, `proxy`, `gold`; where `reliable` is false, points are drawn faint. What
            is not known (NaN) is not drawn.
    """
    import altair as alt

    first = rows[0]
    values = [
        {
            "line": name,
            "kl": round(float(row["kl"]), 9),
            "gain": round(float(row[name]) - float(first[name]), 9),
            "reliable": "yes" if row.get("reliable", True) else "no",
        }
        for name in ("gold", "proxy")
        for row in rows
        if math.isfinite(float(row["kl"]) + float(row[name]) - float(first[name]))
    ]
    names = ["gold", "proxy"]
    base = alt.Chart(alt.InlineData(values=values)).encode(
        x=alt.X("kl:Q", title="KL from the reference policy (nats)"),
        y=alt.Y("gain:Q", title="gain over the reference policy"),
        color=alt.Color(
            "line:N", scale=alt.Scale(domain=names, range=[LINES[n][0] for n in names]), legend=alt.Legend(title=None)
        ),
    )
    faint = alt.Opacity("reliable:N", scale=alt.Scale(domain=["yes", "no"], range=[1, 0.25]), legend=None)
    return paper(
        base.mark_line(strokeWidth=1, opacity=0.4) + base.mark_point(filled=True, size=22).encode(opacity=faint)
    )
