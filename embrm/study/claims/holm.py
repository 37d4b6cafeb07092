"""Verdicts on many claims at once: Holm's correction of both p-values of every finding."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from embrm.metrics.intervals import LEVEL
from embrm.metrics.significance import holm_adjusted
from embrm.study.claims.verdict import SIDED, TOST, Finding, more_data, times


def holm(findings: Sequence[Finding]) -> list[Finding]:
    """Return findings with their verdicts after Holm's step-down correction over all of them.

    The sides of effects are corrected, and by themselves the effects that are too small to matter: of each kind the
    chance of one false verdict or more is 5 %. What an undecided finding needs is then said for a test at 5 % divided
    by their number.
    """
    ran = [found for found in findings if found.p is not None]
    sides = iter(_adjusted([found.p for found in ran]))
    flat = iter(_adjusted([found.p_negligible for found in ran]))
    return [f if f.p is None else _corrected(f, next(sides), next(flat), len(ran)) for f in findings]


def _adjusted(p: Sequence[float | None]) -> list[float]:
    adjusted: list[float] = holm_adjusted([1.0 if value is None else value for value in p]).tolist()
    return adjusted


def _corrected(found: Finding, p: float, p_negligible: float, count: int) -> Finding:
    """Return a finding with its verdict by p-values that were corrected for being among so many."""
    negligible = p_negligible <= 1 - LEVEL and found.verdict != "inconclusive"
    if found.verdict in SIDED and p <= 1 - LEVEL:
        return replace(found, holm=found.verdict, negligible=negligible)
    return replace(found, holm="negligible", negligible=True) if negligible else _undecided(found, count)


def _undecided(found: Finding, count: int) -> Finding:
    """Return a finding that is inconclusive among so many, and how many times as much data would decide it."""
    from scipy.stats import t

    freedom = np.inf if found.freedom is None else found.freedom
    tests = ((found.p, 2, 1 - LEVEL), (found.p_negligible, 1, 1 - TOST))
    ways = [
        more_data(float(t.isf(p / sides, freedom)), 1.0, freedom, tail / 2 / count)
        for p, sides, tail in tests
        if p is not None
    ]
    needed = min((way for way in ways if way is not None), default=None)
    more = f"About {times(needed)} times as many topics and seeds would decide it among {count} rows." if needed else ""
    return replace(found, holm="inconclusive", needed=needed, reason=f"{found.reason} {more}".rstrip())
