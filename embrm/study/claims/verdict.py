"""Verdicts from samples: of a difference, of an equivalence, of several of them, and of many claims at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from embrm.errors import OptionError
from embrm.metrics.significance import bootstrap_p, holm_adjusted, share_against
from embrm.study.claims.sample import LEVEL, Sample

TOST = 0.9  # level of the interval that two one-sided tests at 5 % look at
ClaimVerdict: TypeAlias = Literal["supported", "contradicted", "negligible", "inconclusive", "not run"]


@dataclass(frozen=True)
class Finding:
    """What a study says of a published claim.

    Attributes:
        id: of the claim.
        claim: in one sentence.
        source: who made it.
        dataset: on which it was examined.
        effect, low, high: the number that decides, with its 95 % interval; None where it was not run.
        n: prompts that were resampled (runs in C7, seeds where the spread over them decides, fits in C19).
        seeds: seeds.
        verdict: "supported" or "contradicted" (the 95 % interval lies on one side), "negligible" (the 90 % interval
            lies inside plus or minus the smallest effect of interest), "inconclusive" (none of these) or "not run".
        reason: the numbers, and of a contradicted claim what about the setting may explain it.
        detectable: the smallest effect that the sample finds with a probability of 80 %.
        needed: of an inconclusive claim how many times as many topics and seeds would decide it, if the effect is as
            it was seen; None where none would, as of an effect of exactly zero.
        clusters: clusters of prompts (topics) that were resampled.
        p: two-sided bootstrap p-value.
        holm: the verdict after Holm's correction over all claims that were run on the data set.
    """

    id: str
    claim: str
    source: str
    dataset: str
    effect: float | None
    low: float | None
    high: float | None
    n: int
    seeds: int
    verdict: ClaimVerdict
    reason: str
    detectable: float | None = None
    p: float | None = None
    holm: ClaimVerdict = "not run"
    needed: float | None = None
    clusters: int = 0


@dataclass(frozen=True, eq=False)
class Part:
    """One number that a claim rests on, judged.

    Attributes:
        what: says which number.
        sample: the number.
        verdict: of this part alone.
        p_for, p_against: two-sided p-values for and against the claim.
        p_negligible: of the two one-sided tests that the number is smaller than the smallest effect of interest; 1
            where there is none.
        needed: how many times as much data would decide it, see `Finding`.
    """

    what: str
    sample: Sample
    verdict: ClaimVerdict
    p_for: float
    p_against: float
    p_negligible: float = 1.0
    needed: float | None = None

    def __str__(self) -> str:
        low, high = self.sample.interval
        return f"{self.what} {self.sample.estimate:.3g} [{low:.3g}, {high:.3g}]"


def difference(what: str, sample: Sample, *, smallest: float | None = None) -> Part:
    """Decide a claim that a number is above zero.

    >>> ahead = Sample(0.3, np.linspace(0.1, 0.5, 999), n=40, seeds=5, clusters=40)
    >>> part = difference("gold with the penalty minus without", ahead)
    >>> part.verdict, str(part)
    ('supported', 'gold with the penalty minus without 0.3 [0.11, 0.49]')

    Args:
        what: says which number, in the words of the verdict's reason.
        sample: the number, from `Cells.mean` or `Cells.sample`.
        smallest: the smallest effect of interest, > 0: where the 90 % interval lies inside plus or minus that much, the
            effect is shown to be too small to matter (two one-sided tests at 5 %, Schuirmann 1987). None: any effect
            matters.

    Raises:
        OptionError: `smallest` is not above zero.
    """
    if smallest is not None and not smallest > 0:
        raise OptionError(f"the smallest effect of interest must be > 0, got {smallest}; None means any effect matters")
    low, high = sample.interval
    verdict: ClaimVerdict = "supported" if low > 0 else "contradicted" if high < 0 else "inconclusive"
    p_negligible = 1.0
    if smallest is not None:
        inner, outer = sample.interval_at(TOST)
        if verdict == "inconclusive" and -smallest < inner and outer < smallest:
            verdict = "negligible"
        p_negligible = max(share_against(sample.draws >= smallest), share_against(sample.draws <= -smallest))
    return Part(
        what,
        sample,
        verdict,
        bootstrap_p(sample.draws <= 0),
        bootstrap_p(sample.draws >= 0),
        p_negligible,
        _needed(sample, smallest) if verdict == "inconclusive" else None,
    )


def _needed(sample: Sample, smallest: float | None) -> float | None:
    """Return how many times as much data would decide a difference whose effect is the estimate; None if none would.

    An interval shrinks with the root of the data. It excludes zero when its half width is below the effect; it lies
    inside the smallest effect of interest when that of level 90 % is below what is left to there.
    """
    effect = abs(sample.estimate)
    (low, high), (inner, outer) = sample.interval, sample.interval_at(TOST)
    ways = [((high - low) / 2 / effect) ** 2] if effect > 0 else []
    if smallest is not None and effect < smallest:
        ways.append(((outer - inner) / 2 / (smallest - effect)) ** 2)
    return max(min(ways), 1.0) if ways else None


def equivalence(what: str, sample: Sample, *, below: float, above: float = -np.inf) -> Part:
    """Decide a claim that a number is inside a margin: the whole interval is inside, or all of it outside.

    >>> equivalence("drop", Sample(0.0, np.linspace(-0.1, 0.1, 999), n=40, seeds=5, clusters=40), below=0.05).verdict
    'inconclusive'

    Args:
        what: says which number.
        sample: the number.
        below: end of the margin, stated beforehand.
        above: its other end; without one, any number below is inside.
    """
    low, high = sample.interval
    inside, outside = above < low and high < below, low >= below or high <= above
    verdict: ClaimVerdict = "supported" if inside else "contradicted" if outside else "inconclusive"
    p_for = max(bootstrap_p(sample.draws >= below), bootstrap_p(sample.draws <= above))
    p_against = min(bootstrap_p(sample.draws < below), bootstrap_p(sample.draws > above))
    return Part(what, sample, verdict, p_for, p_against)


def conclude(parts: Sequence[Part]) -> tuple[ClaimVerdict, float, Part]:
    """Return the verdict on a claim all of whose parts must hold, its p-value, and the part that decided.

    All parts at 5 % each are a test at 5 % of the whole (intersection-union), but one part out of k that fails, or that
    is too small to matter, must do so at 5 %/k (Bonferroni): the worst of many fails by chance.
    """
    count = len(parts)
    against = min(parts, key=lambda part: part.p_against)
    weakest = max(parts, key=lambda part: part.p_for)
    flat = min(parts, key=lambda part: part.p_negligible)
    p_against, p_negligible = (min(count * p, 1.0) for p in (against.p_against, flat.p_negligible))
    if all(part.verdict == "supported" for part in parts):
        return "supported", weakest.p_for, weakest
    if against.verdict == "contradicted" and (count == 1 or p_against <= 1 - LEVEL):
        return "contradicted", p_against, against
    if flat.verdict == "negligible" and (count == 1 or p_negligible <= 1 - LEVEL):
        return "negligible", p_negligible, flat
    return "inconclusive", min(weakest.p_for, p_against, p_negligible), weakest


def holm(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings of one data set with their verdicts after Holm's step-down correction."""
    ran = {i: f.p for i, f in enumerate(findings) if f.p is not None}
    adjusted = dict(zip(ran, holm_adjusted(list(ran.values())).tolist(), strict=True))
    return [
        replace(f, holm=f.verdict if adjusted.get(i, 0.0) <= 1 - LEVEL else "inconclusive")
        for i, f in enumerate(findings)
    ]
