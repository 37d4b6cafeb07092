"""How a claim is defined: a function that measures its parts from a data set's rows, entered into a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from embrm.errors import OptionError
from embrm.study.claims._shipped import shipped
from embrm.study.claims.cells import Cells, MissingError
from embrm.study.claims.sample import LEVEL
from embrm.study.claims.verdict import Finding, Part, conclude
from embrm.study.results import Results

Measured: TypeAlias = tuple[Sequence[Part], str]
DRAWS = 4000


@dataclass(frozen=True, eq=False)
class Claim:
    """A published claim.

    Attributes:
        id: a name of its own, such as C1 to C19 of this package.
        text: the claim in one sentence.
        source: who made it.
        heads: titles of the heads that it reads, as patterns of `fnmatch`.
        setting: what about this project's setting may explain that it does not hold here.
        measure: a data set's cells → the parts that must hold, and a remark.
    """

    id: str
    text: str
    source: str
    heads: frozenset[str]
    setting: str
    measure: Callable[[Cells], Measured]

    def __call__(self, results: Results, dataset: str, *, draws: int = DRAWS) -> Finding:
        """Return what the results say; "not run" where something that the claim needs is missing."""
        cells = Cells(results, dataset, draws)
        try:
            parts, remark = self.measure(cells)
        except MissingError as missing:
            return Finding(
                self.id, self.text, self.source, dataset, None, None, None, 0, 0, "not run", f"Not run: {missing}."
            )
        verdict, p, decisive = conclude(parts)
        low, high = decisive.sample.interval
        rest = [str(part) for part in parts if part is not decisive]
        setting = cells.settings[:1]  # what else was read is for the remark
        reason = "; ".join([str(decisive), *rest, *filter(None, [remark, *map(str, setting)])]) + "."
        if verdict == "supported" and any(part.p_negligible <= 1 - LEVEL for part in parts):
            reason += " Supported, but negligible: the effect is shown to be smaller than what is of interest."
        if decisive.needed is not None and verdict == "inconclusive":
            reason += f" About {decisive.needed:.1f} times as many topics and seeds would decide it."
        if any(found.seeds == 1 for found in setting):
            reason += " One seed: resampled over prompts alone, this is about these very models."
        if verdict == "contradicted":
            reason += f" {self.setting}"
        sample = decisive.sample
        return Finding(
            *(self.id, self.text, self.source, dataset, sample.estimate, low, high, sample.n, sample.seeds),
            verdict=verdict,
            reason=reason,
            detectable=sample.detectable,
            p=p,
            needed=decisive.needed if verdict == "inconclusive" else None,
            clusters=sample.clusters,
        )


CLAIMS: dict[str, Claim] = {}


def claim(
    name: str, text: str, *, source: str, heads: Iterable[str], setting: str
) -> Callable[[Callable[[Cells], Measured]], Callable[[Cells], Measured]]:
    """Enter a function into the table of claims, above which it stands as a decorator.

    Args:
        name: the claim's id, which no other has.
        text: the claim in one sentence.
        source: who made it.
        heads: titles of the heads that it reads, as patterns of `fnmatch`.
        setting: what about this project's setting may explain that it does not hold here.

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
        CLAIMS[name] = Claim(name, text, source, frozenset(heads), setting, measure)
        return measure

    return enter
