"""The report of a study: one HTML file that opens without a network, and its figures in the style of a paper."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from embrm.core.files import write_bytes
from embrm.report import figures
from embrm.report.study.page import page
from embrm.report.study.paper import drawn
from embrm.study.results import Results

if TYPE_CHECKING:
    from embrm.study.claims import Finding


def write(results: Results, folder: Path, findings: Sequence[Finding]) -> Path:
    """Write report.html and figures/*.svg into a study's folder, each whole or not at all; return the report's path.

    Raises:
        OptionError: nothing can be written there.
    """
    for name, chart in drawn(results).items():
        figures.save(chart, folder / "figures" / f"{name}.svg", follow=False)
    write_bytes(folder / "report.html", page(results, findings).encode(), follow=False)
    return folder / "report.html"


def rows_of(folder: Path) -> str | None:
    """Return `Results.digest` of what a folder's report.html was made from; None where there is none that tells it."""
    path = folder / "report.html"
    if not path.is_file():
        return None
    try:
        with path.open("rb") as page:
            told = re.search(rb'<meta name="embrm-rows" content="([0-9a-f]{24})">', page.read(4096))
    except OSError:
        return None
    return told[1].decode() if told else None
