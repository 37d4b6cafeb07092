"""The page of a stress test: one HTML file without a script, which asks no host for anything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from embrm.core.files import write_bytes
from embrm.core.visible import replaced
from embrm.evaluation.probes import MEANINGS
from embrm.evaluation.stress import StressReport
from embrm.metrics.intervals import Interval

HERE = Path(__file__).parent


def write(found: StressReport, path: str | Path, *, model: str, above: list[str], limit: float | None = None) -> None:
    """Write the page.

    Args:
        found: the report.
        path: the file.
        model: what the page calls the model.
        above: names of what lies above the limit.
        limit: a share, or None.

    Raises:
        OptionError: nothing can be written there.
    """
    write_bytes(path, page(found, model=model, above=above, limit=limit).encode())


def page(found: StressReport, *, model: str, above: list[str], limit: float | None = None) -> str:
    """Return the page as HTML, texts escaped; see `write`."""
    import jinja2

    places = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        finalize=lambda value: replaced(value) if type(value) is str else value,
    )
    lines = sorted(found.probes.items(), key=lambda item: -float(item[1].acceptance.estimate))
    return places.get_template("stress.html").render(
        title=title(found),
        found=found,
        model=model,
        limit=limit,
        probes=[
            {"name": name, "meaning": MEANINGS[name], "bar": _bar(line.acceptance), "gain": f"{line.gain:+.2f}"}
            | {"alarm": name in above, "example": line.example}
            for name, line in lines
        ],
        turns=[] if found.turns is None else [_bar(found.turns.kept[t]) for t in range(len(found.turns.kept.estimate))],
        consistency=None if found.turns is None else _bar(found.turns.consistency),
        flips=None if found.flips is None else _bar(found.flips.share),
        alarm="flips" in above,
    )


def title(found: StressReport) -> str:
    """Return in a sentence what the reward is taken in by: the probes that are accepted more often than not."""
    liked = [name for name, line in found.probes.items() if float(line.acceptance.low) > 0.5]
    if not liked:
        return "No change that should not help is liked more often than not."
    names = ", ".join(liked)
    return f"The reward is taken in by these changes, more often than not: {names}."


def _bar(line: Interval) -> dict[str, Any]:
    value, low, high = (100 * float(x) for x in (line.estimate, line.low, line.high))
    return {
        "at": f"{value:.1f}",
        "low": f"{low:.1f}",
        "wide": f"{max(high - low, 0.5):.1f}",
        "text": f"{value:.0f} %",
    } | {"range": f"{low:.0f} … {high:.0f} %"}
