"""The world's responses as traces of steps: a sentence is a step, and after a wrong statement nothing is right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from embrm.core.arrays import Array, BoolArray
from embrm.errors import OptionError
from embrm.world.judge import WorldGold
from embrm.world.world import World

MARKERS = "list_marker"  # the attribute whose uses stand before a sentence, and are none themselves


def steps_of(gold: WorldGold, text: str) -> tuple[list[str], BoolArray]:
    """Return the sentences of a text, each with the list markers before it, and which prefixes are right, `(steps,)`.

    A prefix is right as long as it makes no wrong statement.
    """
    steps, wrong, markers = list[str](), list[bool](), list[str]()
    for sentence in gold.sentences(text):
        attribute = gold.attribute(sentence)
        if attribute == MARKERS:
            markers.append(sentence)
            continue
        steps.append(" ".join([*markers, sentence]))
        wrong.append(attribute == "wrong")
        markers.clear()
    return steps, ~np.logical_or.accumulate(np.array(wrong, dtype=bool))


@dataclass(frozen=True)
class StepWriter:
    """π_ref sentence by sentence, of responses of one length and without list markers.

    A whole response is drawn as the world draws it: counts, then sentences in a random order. What may follow a prefix
    is drawn from the same law, given the prefix: counts c with a chance ∝ Π p(c_a)·c_a!/(c_a − k_a)!, where the prefix
    has k_a uses of attribute a, so that attribute a is next with a chance ∝ E[c_a] − k_a.

    Attributes:
        world: what it writes of.
        sentences: how many a response has.
    """

    world: World
    sentences: int = 5

    def __post_init__(self) -> None:
        most = sum(len(p) - 1 for p in self._chances)
        if not 1 <= self.sentences <= most:
            raise OptionError(f"sentences must be inside 1..{most}, got {self.sentences}")

    @cached_property
    def _known(self) -> dict[tuple[int, ...], Array]:
        return {}

    @cached_property
    def _names(self) -> list[str]:
        return [name for name in self.world.attributes if name != MARKERS]

    @cached_property
    def _chances(self) -> list[Array]:
        of = dict(zip(self.world.attributes, self.world.reference, strict=True))
        return [of[name] for name in self._names]

    def response(self, topic: int, *, rng: np.random.Generator) -> list[str]:
        """Return the sentences of one response to a topic."""
        prefix: list[str] = []
        while len(prefix) < self.sentences:
            prefix.append(self.following(topic, prefix, rng=rng))
        return prefix

    def following(self, topic: int, prefix: Sequence[str], *, rng: np.random.Generator) -> str:
        """Return a sentence that may follow, drawn from π_ref given the sentences before it."""
        lists = [self._texts(topic, name) for name in self._names]
        used = tuple(sum(sentence in texts for sentence in prefix) for texts in lists)
        fresh = [text for text in lists[rng.choice(len(lists), p=self._next(used))] if text not in prefix]
        return fresh[rng.integers(len(fresh))]

    def is_right(self, topic: int, sentences: Sequence[str]) -> bool:
        """Return whether none of the sentences is a wrong statement."""
        return not set(sentences) & set(self._texts(topic, "wrong"))

    def _texts(self, topic: int, name: str) -> Sequence[str]:
        found: Sequence[str] = self.world.spec.styles.get(name) or getattr(self.world.spec.topics[topic], name)
        return found

    def _next(self, used: tuple[int, ...]) -> Array:
        """Return with which chance the next sentence is a use of each attribute `(a,)`: ∝ E[c_a] − k_a."""
        if used not in self._known:
            given = [
                chance * np.prod([np.maximum(np.arange(len(chance)) - j, 0) for j in range(k)], axis=0)
                for chance, k in zip(self._chances, used, strict=True)
            ]
            left = np.array([self._mean(given, a) - k for a, k in enumerate(used)])
            self._known[used] = np.maximum(left, 0) / np.maximum(left, 0).sum()
        return self._known[used]

    def _mean(self, given: Sequence[Array], a: int) -> float:
        """Return E[c_a] where counts with these weights sum to the length of a response."""
        others = np.ones(1)
        for weight in (*given[:a], *given[a + 1 :]):
            others = np.convolve(others, weight)
        counts = np.arange(min(len(given[a]), self.sentences + 1))
        rest = self.sentences - counts
        joint = given[a][counts] * np.where(rest < len(others), others[np.minimum(rest, len(others) - 1)], 0.0)
        return float(joint @ counts / joint.sum())
