"""The report of a study: one HTML file that opens without a network, and its figures in the style of a paper."""

from __future__ import annotations

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
        figures.save(chart, folder / "figures" / f"{name}.svg")
    write_bytes(folder / "report.html", page(results, findings).encode())
    return folder / "report.html"
