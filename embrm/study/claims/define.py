"""How a claim is defined: a function that measures its parts from a data set's rows, entered into a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from embrm.errors import OptionError
from embrm.metrics.intervals import LEVEL
from embrm.study.claims._shipped import shipped
from embrm.study.claims.case import CLEAN, FAIR, NOISY, Case, Channel, Under
from embrm.study.claims.cells import Cells
from embrm.study.claims.fits import DatasetFits, MissingError
from embrm.study.claims.verdict import SIDED, Finding, Part, conclude
from embrm.study.results import Results

Measured: TypeAlias = tuple[Sequence[Part], str]
DRAWS = 4000


@dataclass(frozen=True)
class Scope:
    """Where a claim is examined; each mechanism, channel and defence gets a row, where its heads were fitted.

    Attributes:
        under: which mechanisms: "every" one, the "hacks" (all but fair annotators), "one" (biased annotators, where the
            heads were not fitted there the first of the other hacks, and fair ones last), "fair" annotators, or "none"
            (the data set as a whole).
        flips: label noise; of these levels the first at which the heads were fitted. Under "every" mechanism fair
            annotators are examined at each of them, since noise alone is a mechanism too.
        channels: how policies are optimised.
        defences: name → titles of the heads that it needs, for a claim that compares several with the standard head.
        compares: what such a claim's effects are, as the heading of its matrix says it.
    """

    under: Under = "one"
    flips: tuple[float, ...] = (NOISY, CLEAN)
    channels: tuple[Channel, ...] = ("",)
    defences: Mapping[str, Sequence[str]] = field(default_factory=dict)
    compares: str = ""

    def cases(self, fits: DatasetFits, heads: Iterable[str]) -> list[Case]:
        """Return where a data set lets the claim be examined; at least one, in which what is missing is said."""
        found = [
            Case(mechanism, flips, channel, defence)
            for defence, needed in (self.defences or {"": list(heads)}).items()
            for mechanism in self._mechanisms(fits)
            for flips in self._levels(mechanism, fits.flips(mechanism, needed))
            for channel in self.channels
        ]
        if self.under == "one":  # the first under which the heads were fitted
            found = [case for case in found if case.mechanism == found[0].mechanism]
        return found or [self._lacking(fits, heads)]

    def _lacking(self, fits: DatasetFits, heads: Iterable[str]) -> Case:
        """Return a case in which a head or more is not there, at a noise at which others are, if there is one."""
        mechanism = {"fair": FAIR, "none": ""}.get(self.under, Case.mechanism)
        there = {level for head in heads for level in fits.flips(fits.mechanism(mechanism), [head])}
        flips = next((level for level in self.flips if level in there), self.flips[0])
        return Case(mechanism, flips, self.channels[0], next(iter(self.defences), ""))

    def _mechanisms(self, fits: DatasetFits) -> list[str]:
        if self.under == "none":
            return []
        if self.under == "fair":
            return [fits.mechanism(FAIR)]
        if self.under == "every":
            return fits.mechanisms
        hacks = [title for title in fits.mechanisms if title != FAIR]
        fair = [FAIR] if self.under == "one" and FAIR in fits.mechanisms else []
        return [*sorted(hacks, key=lambda title: title != Case.mechanism), *fair]

    def _levels(self, mechanism: str, fitted: Sequence[float]) -> list[float]:
        found = [level for level in self.flips if level in fitted]
        return found if self.under == "every" and mechanism == FAIR else found[:1]


@dataclass(frozen=True, eq=False)
class Claim:
    """A published claim.

    Attributes:
        id: a name of its own, such as C1 of this package.
        text: the claim in one sentence.
        source: who made it.
        heads: titles of the heads and experiments that it reads, as patterns of `fnmatch`.
        setting: what about this project's setting may explain that it does not hold here.
        scope: where it is examined.
        measure: a data set's cells → the parts that must hold, and a remark.
    """

    id: str
    text: str
    source: str
    heads: frozenset[str]
    setting: str
    scope: Scope
    measure: Callable[[Cells], Measured]

    def __call__(self, results: Results, dataset: str, *, draws: int = DRAWS) -> list[Finding]:
        """Return what the results say in each case that they have; "not run" where something needed is missing."""
        fits = DatasetFits(results, dataset)
        return [self._examine(fits, case, draws) for case in self.scope.cases(fits, self.heads)]

    def _examine(self, fits: DatasetFits, case: Case, draws: int) -> Finding:
        cells = Cells(fits, draws, case)
        blank = Finding(
            *(self.id, self.text, self.source, fits.dataset, None, None, None, 0, 0, "not run", ""),
            mechanism="" if self.scope.under == "none" else fits.mechanism(case.title),
            channel=case.channel,
            defence=case.defence,
        )
        try:
            parts, remark = self.measure(cells)
        except MissingError as missing:
            return replace(blank, reason=f"Not run: {missing}.")
        verdict, p, p_negligible, decisive = conclude(parts)
        sample = decisive.sample
        low, high = sample.interval
        return replace(
            blank,
            effect=sample.estimate,
            low=low,
            high=high,
            n=sample.n,
            seeds=sample.seeds,
            clusters=sample.clusters,
            verdict=verdict,
            reason=self._reason(cells, parts, decisive, verdict, remark),
            detectable=sample.detectable,
            p=p,
            p_negligible=p_negligible,
            needed=decisive.needed if verdict == "inconclusive" else None,
            smallest=decisive.smallest,
            freedom=sample.freedom if np.isfinite(sample.freedom) else None,
        )

    def _reason(self, cells: Cells, parts: Sequence[Part], decisive: Part, verdict: str, remark: str) -> str:
        rest = [str(part) for part in parts if part is not decisive]
        setting = cells.settings[:1]  # what else was read is for the remark
        reason = "; ".join([str(decisive), *rest, *filter(None, [remark, *map(str, setting)])]) + "."
        if verdict in SIDED and decisive.p_negligible <= 1 - LEVEL:
            reason += " Taken alone, it is also shown to be smaller than what is of interest."
        if any(found.seeds == 1 for found in setting):
            reason += " One seed: resampled over prompts alone, this is about these very models."
        return f"{reason} {self.setting}" if verdict == "contradicted" else reason


CLAIMS: dict[str, Claim] = {}


def claim(
    name: str, text: str, *, source: str, heads: Iterable[str], setting: str, scope: Scope = Scope()
) -> Callable[[Callable[[Cells], Measured]], Callable[[Cells], Measured]]:
    """Enter a function into the table of claims, above which it stands as a decorator.

    Args:
        name: the claim's id, which no other has.
        text: the claim in one sentence.
        source: who made it.
        heads: titles of the heads and experiments that it reads, as patterns of `fnmatch`.
        setting: what about this project's setting may explain that it does not hold here.
        scope: where it is examined.

    Raises:
        OptionError: another claim has that id.
    """

    def enter(measure: Callable[[Cells], Measured]) -> Callable[[Cells], Measured]:
        other = CLAIMS.get(name)
        owner = other.measure.__module__ if other else shipped()[name].module if name in shipped() else None
        again = other is None or other.measure.__qualname__ == measure.__qualname__
        if owner and not (owner == measure.__module__ and again):
            raise OptionError(
                f"the id '{name}' is taken by a claim of {owner}; give the claim of {measure.__module__} another"
            )
        CLAIMS[name] = Claim(name, text, source, frozenset(heads), setting, scope, measure)
        return measure

    return enter
