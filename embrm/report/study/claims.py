"""Verdicts as the page shows them: its first sentence, the matrix of defences, and a row for each claim."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from embrm.report.study.settings import count, number
from embrm.study.claims import ClaimSummary, DefenceMatrix, Finding, matrices, places, summaries

SIGNS = {"supported": "✓", "contradicted": "✗", "negligible": "≈", "inconclusive": "?", "not run": "–"}
HACKED = "C1"  # the claim that a standard reward is hacked
TICKS = (-30, -10, -3, -1, 0, 1, 3, 10, 30)  # multiples of the smallest effect of interest


@dataclass(frozen=True)
class FindingRow:
    """A finding as the page shows it: every field a text, or the place of a mark in its bar in percent.

    Attributes:
        finding: what was found.
        kind: its verdict after Holm's correction as a style's name.
        sign: of that verdict.
        effect, n, detectable: as the table writes them.
        bar: percentages of (low, effect, high) on the axis that all findings share, or None.
    """

    finding: Finding
    kind: str
    sign: str
    effect: str
    n: str
    detectable: str
    bar: tuple[float, float, float] | None


@dataclass(frozen=True)
class ClaimRow:
    """A claim as the page shows it.

    Attributes:
        summary: what was found in every case.
        kind, sign: of the verdict that all cases share, or of a mixed one.
        rows: the cases.
    """

    summary: ClaimSummary
    kind: str
    sign: str
    rows: Sequence[FindingRow]


@dataclass(frozen=True)
class MatrixTable:
    """A matrix of defences as the page shows it.

    Attributes:
        matrix: what was found.
        rows: (defence, one finding for each mechanism, None where it was not examined).
    """

    matrix: DefenceMatrix
    rows: Sequence[tuple[str, Sequence[FindingRow | None]]]


def claims(findings: Sequence[Finding]) -> list[ClaimRow]:
    """Return a row for each claim on each data set, in the order of the findings."""
    rows = []
    for summary in summaries(findings):
        mixed = summary.verdict == "mixed"
        first = shown(summary.first)
        kind, sign = ("mixed", "±") if mixed else (first.kind, first.sign)
        rows.append(ClaimRow(summary, kind, sign, [shown(row) for row in summary.rows]))
    return rows


def matrix_tables(findings: Sequence[Finding]) -> list[MatrixTable]:
    """Return the matrices defence × mechanism."""
    tables = []
    for matrix in matrices(findings):
        cells = {place: shown(finding) for place, finding in matrix.findings.items()}
        rows = [(d, [cells.get((d, mechanism)) for mechanism in matrix.mechanisms]) for d in matrix.defences]
        tables.append(MatrixTable(matrix, rows))
    return tables


def shown(found: Finding) -> FindingRow:
    """Return a finding as the page shows it."""
    ends = (found.low, found.effect, found.high)
    known = [x for x in ends if x is not None and math.isfinite(x)]
    digits = 2 if max(map(abs, known), default=1.0) >= 0.1 else 3
    low, effect, high = (number(x, digits) for x in ends)
    n = "" if not found.n else f"{count(found.n)}" + (f" × {count(found.seeds)}" if found.seeds else "")
    bar = None
    if len(known) == len(ends) and found.smallest:
        left, middle, right = (place(x / found.smallest) for x in known)
        bar = (left, middle, right)
    return FindingRow(
        finding=found,
        kind=found.holm.replace(" ", "-"),
        sign=SIGNS[found.holm],
        effect=f"{effect} [{low}, {high}]" if known else "",
        n=n,
        detectable=number(found.detectable, digits),
        bar=bar,
    )


def place(multiple: float) -> float:
    """Return where a multiple of the smallest effect of interest stands on the shared axis, in percent.

    The axis is one of arsinh: even around zero, logarithmic far out. What is beyond its ends stands there.
    """
    end = math.asinh(TICKS[-1])
    return 50 + 50 * max(-1.0, min(1.0, math.asinh(multiple) / end))


def ticks() -> list[tuple[float, str]]:
    """Return the axis' marks: place in percent, and text."""
    return [(place(tick), str(tick).replace("-", "−")) for tick in TICKS]


def tally(findings: Sequence[Finding]) -> list[tuple[str, str, int]]:
    """Return (style's name, verdict after Holm's correction, how many) for every verdict."""
    counts: Counter[str] = Counter(finding.holm for finding in findings)
    return [(verdict.replace(" ", "-"), verdict, counts[verdict]) for verdict in SIGNS]


def answer(findings: Sequence[Finding]) -> str:
    """Return the report's first sentences: where a standard reward is hacked, and what helps against it.

    They say what the verdicts say, and that an undecided one is undecided.
    """
    ran = [finding for finding in findings if finding.verdict != "not run"]
    if not ran:
        return "No claim could be examined, so nothing can be said."
    decided = sum(finding.decided for finding in ran)
    fared = f"After Holm's correction {decided} of {len(ran)} verdicts are decided."
    return " ".join(filter(None, [_hacked(ran), _helped(ran), fared]))


def _hacked(ran: Sequence[Finding]) -> str:
    """Say under which mechanisms a standard reward is hacked, by the first data set's verdicts."""
    found = [finding for finding in ran if finding.id == HACKED and finding.dataset == ran[0].dataset]
    if not found:
        return "Whether a standard reward is hacked was not examined."
    words = {
        "supported": "loses gold that it had gained",
        "negligible": "loses a negligible part of it at most",
        "contradicted": "still gains at the end",
        "inconclusive": "is left undecided by too little data",
    }
    said = [
        f"{word} under {places([f for f in found if f.holm == verdict])}"
        for verdict, word in words.items()
        if any(f.holm == verdict for f in found)
    ]
    yes = "Yes" if any(f.holm == "supported" for f in found) else "Not shown"
    return f"{yes}: on {found[0].dataset} a policy optimised against the standard reward {'; '.join(said)}."


def _helped(ran: Sequence[Finding]) -> str:
    """Say which defences help under each mechanism, in any channel of the first data set that has a matrix."""
    found = [finding for finding in ran if finding.defence]
    mechanisms = dict.fromkeys(f.mechanism for f in found if f.dataset == found[0].dataset)
    said = []
    for mechanism in mechanisms:
        here = [f for f in found if f.dataset == found[0].dataset and f.mechanism == mechanism]
        best = sorted((f for f in here if f.holm == "supported"), key=lambda f: -(f.effect or 0.0))
        names = list(dict.fromkeys(f.defence for f in best))
        verb = "helps" if len(names) == 1 else "help"
        said.append(f"under {mechanism} {', '.join(names) or 'none is shown to'} {verb}")
    return f"Of the defences tried, {'; '.join(said)}." if said else ""
