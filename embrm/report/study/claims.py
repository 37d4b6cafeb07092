"""Verdicts on claims, as a table of the page and as its first sentence."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embrm.bestofn.scaling_law import peak
from embrm.report.study.curves import DRAWS, held_out
from embrm.report.study.settings import count, hardest, number, settings, within
from embrm.study.metric import Metric
from embrm.study.results import Results

if TYPE_CHECKING:
    from embrm.study.claims import Finding

SIGNS = {"supported": "✓", "contradicted": "✗", "negligible": "≈", "inconclusive": "?", "not run": "–"}


@dataclass(frozen=True)
class ClaimRow:
    """A finding as the page shows it: every field a text, or the place of a mark in its bar in percent.

    Attributes:
        finding: what was found.
        kind: its verdict as a style's name.
        sign: of the verdict.
        effect, n, detectable, holm: as the table writes them.
        bar: percentages of (low, effect, high, zero) on a scale of the row's own, or None.
    """

    finding: Finding
    kind: str
    sign: str
    effect: str
    n: str
    detectable: str
    holm: str
    bar: tuple[float, float, float, float] | None


def claims(findings: Sequence[Finding]) -> list[ClaimRow]:
    """Return the findings as the page shows them, in their order."""
    return [_claim(finding) for finding in findings]


def _claim(found: Finding) -> ClaimRow:
    ends = (found.low, found.effect, found.high)
    known = [x for x in ends if x is not None and math.isfinite(x)]
    whole = len(known) == len(ends)
    digits = 2 if max(map(abs, known), default=1.0) >= 0.1 else 3
    low, effect, high = (number(x, digits) for x in ends)
    n = "" if not found.n else f"{count(found.n)}" + (f" × {count(found.seeds)}" if found.seeds else "")
    return ClaimRow(
        finding=found,
        kind=found.verdict.replace(" ", "-"),
        sign=SIGNS[found.verdict],
        effect=f"{effect} [{low}, {high}]" if known else "",
        n=n,
        detectable=number(found.detectable, digits),
        holm=found.holm if found.verdict != "not run" else "",
        bar=_bar(*known) if whole else None,
    )


def _bar(low: float, effect: float, high: float) -> tuple[float, float, float, float]:
    """Return where an interval lies on a scale that has zero and all of it, 4 % free on either side."""
    left, right = min(low, 0.0), max(high, 0.0)
    span = right - left or 1.0
    at = [4 + 92 * (value - left) / span for value in (low, effect, high, 0.0)]
    return at[0], at[1], at[2], at[3]


def tally(findings: Sequence[Finding]) -> list[tuple[str, str, int]]:
    """Return (style's name, verdict, how many) for every verdict."""
    counts: Counter[str] = Counter(finding.verdict for finding in findings)
    return [(verdict.replace(" ", "-"), verdict, counts[verdict]) for verdict in SIGNS]


def answer(results: Results, findings: Sequence[Finding]) -> str:
    """Return the report's one sentence: whether rewards are hacked, and how claims fared."""
    fared = ", ".join(f"{k} {verdict}" for _, verdict, k in tally(findings) if k)
    verdicts = f"; of {len(findings)} verdicts on published claims: {fared}" if findings else ""
    return f"{_hacked(results)}{verdicts}."


def _hacked(results: Results) -> str:
    """Say how many heads lose gold that they had gained, on the first data set under its hardest setting."""
    found = settings(results)
    if not found:
        return "No head was fitted, so nothing can be said"
    setting = hardest(found, found[0].dataset)
    part, losses = within(results, setting), []
    for head in results.config.titles:
        gold = held_out(part, setting, head, Metric("path", "mean"))
        if gold is not None and gold.shape[-1] > 1 and len(gold) >= 4:
            top = peak(gold if gold.shape[1] > 1 else gold[:, 0], seed=0, draws=DRAWS)
            losses.append((float(top.drop.estimate), float(top.drop.low), float(top.gain.estimate), head))
    hacked = [loss for loss in losses if loss[1] > 0]
    where = f"on {setting}, {len(hacked)} of {len(losses)} heads lose gold that they had gained"
    if not hacked:
        return f"Not as far as this study reaches: {where} when a policy is optimised against their mean reward"
    drop, _, gain, head = max(hacked)
    most = f"{head}: {number(drop)} after a gain of {number(gain)}"
    return f"Yes: {where}; most of all {most}, while its own reward keeps rising"
