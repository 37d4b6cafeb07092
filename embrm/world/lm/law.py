"""The exact law of π_ref sentence by sentence: what a text of the world goes on with, given how it began."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import comb, perm

import numpy as np

from embrm.core.arrays import Array
from embrm.world.world import World

MARKER, EMPTY = "list_marker", ""  # the attribute that is no sentence, and what stands in a text without any


@dataclass(frozen=True)
class Beginning:
    """What stands in a text so far.

    Attributes:
        sentences: attributes of the finished sentences, sorted.
        marked: how many markers stood before each, sorted.
        current: markers behind all of them.
    """

    sentences: tuple[str, ...] = ()
    marked: tuple[int, ...] = ()
    current: int = 0

    def followed(self, attribute: str) -> Beginning:
        """Return what stands there with one more fragment."""
        if attribute == MARKER:
            return replace(self, current=self.current + 1)
        return Beginning(tuple(sorted((*self.sentences, attribute))), tuple(sorted((*self.marked, self.current))))


@dataclass(frozen=True)
class SentenceLaw:
    """How texts of π_ref go on.

    Attributes of a text are drawn independently, its fragments without repetition, and their order at random. So the
    chance of a beginning is a sum over the counts that have it: of the product of falling factorials of counts, over
    that of the number of sentences. Markers stand before sentences that are drawn at random.

    Attributes:
        world: whose π_ref it is.
    """

    world: World

    def following(self, begun: Beginning) -> dict[str | None, float]:
        """Return the chance of each attribute to have the next fragment, and of None, the end.

        The attribute of the empty text is `""`. Within an attribute all fragments that are not there yet are alike.
        """
        if EMPTY in begun.sentences:
            return {None: 1.0}
        here, done = self._weights(begun.sentences), len(begun.sentences)
        placed = {n: self._placed(n, begun) for n in range(done, len(here))}
        chances: dict[str | None, float] = {MARKER: sum(here[n] * marked for n, (_, marked) in placed.items())}
        for kind in self._kinds:
            more = self._weights((*begun.sentences, kind))
            chances[kind] = sum(more[n] * plain for n, (plain, _) in placed.items())
        if not done:
            chances[EMPTY] = here[0] * placed[0][0]
        elif not begun.current:
            chances[None] = here[done] * self._ended(begun)
        total = sum(chances.values())
        return {name: float(chance / total) for name, chance in chances.items() if chance > 0}

    @cached_property
    def _kinds(self) -> list[str]:
        return [name for name in self.world.attributes if name != MARKER]

    def _weights(self, sentences: Sequence[str]) -> Array:
        """Return for each number of sentences the chance that there are so many and that they begin with the given.

        Left out is the chance of the choice among an attribute's fragments.
        """
        sizes, done = np.ones(1), len(sentences)
        for kind in self._kinds:
            p, k = self.world.reference[self.world.attributes.index(kind)], sentences.count(kind)
            sizes = np.convolve(sizes, [q * perm(c, k) for c, q in enumerate(p)])
        return np.array([w / perm(n, done) if n >= done else 0.0 for n, w in enumerate(sizes)])

    def _placed(self, sentences: int, begun: Beginning) -> tuple[float, float]:
        """Return the chance of the markers so far and of none before the next sentence, and that of one more."""
        none = more = 0.0
        places = max(sentences, 1)
        free = places - len(begun.marked)
        for p, each, ways, left in self._markers(places, begun) if free else ():
            plain, marked = comb(free - 1, left) / ways, comb(free - 1, left - 1) / ways if left else 0.0
            none += p * ((begun.current == each) * plain + (begun.current == each + 1) * marked)
            more += p * ((begun.current < each) * plain + (begun.current <= each) * marked)
        return none, more

    def _ended(self, begun: Beginning) -> float:
        """Return the chance of the markers before all sentences of a text."""
        return sum(p / ways for p, _, ways, left in self._markers(len(begun.marked), begun) if left == 0)

    def _markers(self, places: int, begun: Beginning) -> Iterator[tuple[float, int, int, int]]:
        """Yield, where so many sentences may have the markers that the first ones have, what is the case with all.

        That is the chance of their number; how many stand before each sentence, while before some stands one more; the
        number of ways to choose these; and how many of these are still to come.
        """
        for markers, p in enumerate(self.world.reference[self.world.attributes.index(MARKER)].tolist()):
            each, some = divmod(markers, places)
            left = some - begun.marked.count(each + 1)
            if set(begun.marked) <= {each, each + 1} and left >= 0:
                yield p, each, comb(places, some), left
