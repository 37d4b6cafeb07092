"""Verdicts from samples: of a difference, of an equivalence, of several of them, and of many claims at once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from embrm.errors import OptionError
from embrm.metrics.intervals import LEVEL
from embrm.study.claims.case import CHANNEL_NAMES, Channel
from embrm.study.claims.sample import Sample

MOST = np.log(1e4)  # times as much data; what needs more will not be decided
TOST = 0.9  # level of the interval that two one-sided tests at 5 % look at
ClaimVerdict: TypeAlias = Literal["supported", "contradicted", "negligible", "inconclusive", "not run"]
SIDED = ("supported", "contradicted")  # verdicts on which side of zero an effect lies


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
        p: two-sided bootstrap p-value of an effect on either side.
        p_negligible: that of the two one-sided tests of an effect smaller than the smallest of interest.
        holm: the verdict after Holm's correction over all rows of the claims that were run on the data set, of both
            p-values by itself; a claim that compares many defences is corrected by itself.
        mechanism: what is wrong with the training pairs, such as "biased" or "noisy"; "" where that is not asked.
        channel: how a policy is optimised against the reward: "path", "bon" (best of n), or "".
        defence: what is compared with the standard head, in claims that compare several; "" in the others.
        smallest: the smallest effect of interest, in the units of the effect; None where none was stated.
        freedom: degrees of freedom of the law of its tails; None of a normal one.
        negligible: whether the effect is shown to be smaller than that, after Holm's correction; one that is supported
            or contradicted may be.
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
    mechanism: str = ""
    channel: Channel = ""
    defence: str = ""
    smallest: float | None = None
    freedom: float | None = None
    p_negligible: float | None = None
    negligible: bool = False

    @property
    def name(self) -> str:
        """Its data set, id and where it was examined, as `read_expected` takes it: "world/C1/biased/path"."""
        return "/".join(filter(None, (self.dataset, self.id, self.mechanism, self.channel, self.defence)))

    @property
    def where(self) -> str:
        """Where it was examined, in words: "biased (path)"."""
        channel = CHANNEL_NAMES[self.channel]
        place = f"{self.mechanism} ({channel})" if self.mechanism and channel else self.mechanism or channel
        return ": ".join(filter(None, (self.defence, place)))

    @property
    def decided(self) -> bool:
        """Whether there is a verdict after Holm's correction."""
        return self.holm not in ("inconclusive", "not run")

    @property
    def word(self) -> str:
        """The verdict after Holm's correction; of an undecided one what it would take."""
        if self.holm in SIDED and self.negligible:
            return f"{self.holm}, but negligible"
        if self.holm != "inconclusive":
            return self.holm
        alone = f"{self.verdict} alone" if self.verdict != "inconclusive" else ""
        more = ", ".join(filter(None, (alone, f"needs × {times(self.needed)}" if self.needed else "")))
        return f"inconclusive ({more})" if more else "inconclusive"


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
        smallest: the smallest effect of interest, or None.
    """

    what: str
    sample: Sample
    verdict: ClaimVerdict
    p_for: float
    p_against: float
    p_negligible: float = 1.0
    needed: float | None = None
    smallest: float | None = None

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
        p_negligible = max(sample.beyond(smallest, above=True), sample.beyond(-smallest, above=False))
    return Part(
        what,
        sample,
        verdict,
        _two_sided(sample.beyond(0.0, above=False)),
        _two_sided(sample.beyond(0.0, above=True)),
        p_negligible,
        _needed(sample, smallest) if verdict == "inconclusive" else None,
        smallest,
    )


def _two_sided(p: float) -> float:
    return min(2 * p, 1.0)


def _needed(sample: Sample, smallest: float | None) -> float | None:
    """Return how many times as much data would decide a difference whose effect is the estimate; None if none would.

    Either the interval excludes zero, or both one-sided tests say that it lies inside the smallest effect of interest.
    """
    effect, error = abs(sample.estimate), sample.error
    ways = [more_data(effect, error, sample.freedom, (1 - LEVEL) / 2)]
    if smallest is not None:
        ways.append(more_data(smallest - effect, error, sample.freedom, (1 - TOST) / 2))
    return min((way for way in ways if way is not None), default=None)


def more_data(effect: float, error: float, freedom: float, tail: float) -> float | None:
    """Return how many times as much data makes an effect with that standard error significant, None if too many.

    Errors shrink with the root of the data, and the quantile of Student's law by which they count shrinks as well.
    """
    from scipy.optimize import brentq
    from scipy.stats import t

    def short(log_times: float) -> float:
        times = np.exp(log_times)
        return float(t.isf(tail, freedom * times) * error - effect * np.sqrt(times))

    if effect <= 0:
        return None
    if short(0.0) <= 0:
        return 1.0
    return float(np.exp(brentq(short, 0.0, MOST))) if short(MOST) < 0 else None


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
    p_for = _two_sided(max(sample.beyond(below, above=True), sample.beyond(above, above=False)))
    p_against = _two_sided(min(sample.beyond(below, above=False), sample.beyond(above, above=True)))
    needed = _needed_to_place(sample, below, above) if verdict == "inconclusive" else None
    return Part(what, sample, verdict, p_for, p_against, needed=needed)


def _needed_to_place(sample: Sample, below: float, above: float) -> float | None:
    """Return how many times as much data would decide whether a number is inside a margin; None if none would."""
    room = min(abs(sample.estimate - end) for end in (below, above))
    return more_data(room, sample.error, sample.freedom, (1 - LEVEL) / 2)


def conclude(parts: Sequence[Part]) -> tuple[ClaimVerdict, float, float, Part]:
    """Return the verdict on a claim all of whose parts must hold, `Finding`'s two p-values, and the part that decided.

    All parts at 5 % each are a test at 5 % of the whole (intersection-union), but one part out of k that fails, or that
    is too small to matter, must do so at 5 %/k (Bonferroni): the worst of many fails by chance.
    """
    count = len(parts)
    against = min(parts, key=lambda part: part.p_against)
    weakest = max(parts, key=lambda part: part.p_for)
    flat = min(parts, key=lambda part: part.p_negligible)
    p_against, p_negligible = (min(count * p, 1.0) for p in (against.p_against, flat.p_negligible))
    p = min(weakest.p_for, p_against)
    if all(part.verdict == "supported" for part in parts):
        return "supported", p, p_negligible, weakest
    if against.verdict == "contradicted" and (count == 1 or p_against <= 1 - LEVEL):
        return "contradicted", p, p_negligible, against
    if flat.verdict == "negligible" and (count == 1 or p_negligible <= 1 - LEVEL):
        return "negligible", p, p_negligible, flat
    return "inconclusive", p, p_negligible, weakest


def times(needed: float) -> str:
    """Return how many times as much data in words, rounded up: "1.4", "23", "over 100"."""
    return (
        "over 100" if needed > 100 else f"{math.ceil(needed)}" if needed > 10 else f"{math.ceil(10 * needed) / 10:.1f}"
    )
