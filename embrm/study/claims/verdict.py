"""Verdicts from samples: of a difference, of an equivalence, of several of them, and of many claims at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np

from embrm.study.claims.sample import LEVEL, Sample

ClaimVerdict: TypeAlias = Literal["supported", "contradicted", "inconclusive", "not run"]


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
        verdict: "supported", "contradicted", "inconclusive" or "not run".
        reason: the numbers, and of a contradicted claim what about the setting may explain it.
        detectable: the smallest effect that the sample finds with a probability of 80 %.
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


@dataclass(frozen=True, eq=False)
class Part:
    """One number that a claim rests on, judged.

    Attributes:
        what: says which number.
        sample: the number.
        verdict: of this part alone.
        p_for, p_against: two-sided p-values for and against the claim.
    """

    what: str
    sample: Sample
    verdict: ClaimVerdict
    p_for: float
    p_against: float

    def __str__(self) -> str:
        low, high = self.sample.interval
        return f"{self.what} {self.sample.estimate:.3g} [{low:.3g}, {high:.3g}]"


def difference(what: str, sample: Sample) -> Part:
    """Judge a claim that a number is above zero: the interval excludes zero on one side or the other.

    >>> part = difference("gold with the penalty minus without", Sample(0.3, np.linspace(0.1, 0.5, 999), n=40, seeds=5))
    >>> part.verdict, str(part)
    ('supported', 'gold with the penalty minus without 0.3 [0.11, 0.49]')

    Args:
        what: says which number, in the words of the verdict's reason.
        sample: the number, from `Cells.mean` or `Cells.sample`.
    """
    low, high = sample.interval
    verdict: ClaimVerdict = "supported" if low > 0 else "contradicted" if high < 0 else "inconclusive"
    return Part(what, sample, verdict, _p(sample.draws <= 0), _p(sample.draws >= 0))


def equivalence(what: str, sample: Sample, *, below: float, above: float = -np.inf) -> Part:
    """Judge a claim that a number is inside a margin: the whole interval is inside, or all of it outside.

    >>> equivalence("drop", Sample(0.0, np.linspace(-0.1, 0.1, 999), n=40, seeds=5), below=0.05).verdict
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
    p_for = max(_p(sample.draws >= below), _p(sample.draws <= above))
    p_against = min(_p(sample.draws < below), _p(sample.draws > above))
    return Part(what, sample, verdict, p_for, p_against)


def _p(against: np.typing.NDArray[np.bool_]) -> float:
    """Return twice the share of the draws that speak against; never 0, as draws are finitely many."""
    return min(2 * (1 + int(against.sum())) / (1 + len(against)), 1.0)


def conclude(parts: Sequence[Part]) -> tuple[ClaimVerdict, float, Part]:
    """Return the verdict on a claim all of whose parts must hold, its p-value, and the part that decided.

    All parts at 5 % each are a test at 5 % of the whole (intersection-union), but one part out of k that fails must do
    so at 5 %/k (Bonferroni): the worst of many fails by chance.
    """
    against = min(parts, key=lambda part: part.p_against)
    weakest = max(parts, key=lambda part: part.p_for)
    p_against = min(len(parts) * against.p_against, 1.0)
    p = min(weakest.p_for, p_against)
    if all(part.verdict == "supported" for part in parts):
        return "supported", p, weakest
    if against.verdict == "contradicted" and (len(parts) == 1 or p_against <= 1 - LEVEL):
        return "contradicted", p, against
    return "inconclusive", p, weakest


def holm(findings: Sequence[Finding]) -> list[Finding]:
    """Return the findings of one data set with their verdicts after Holm's step-down correction."""
    ran = sorted((f.p, i) for i, f in enumerate(findings) if f.p is not None)
    kept: set[int] = set()
    for place, (p, i) in enumerate(ran):
        if p > (1 - LEVEL) / (len(ran) - place):
            break
        kept.add(i)
    return [replace(f, holm=f.verdict if i in kept or f.p is None else "inconclusive") for i, f in enumerate(findings)]
