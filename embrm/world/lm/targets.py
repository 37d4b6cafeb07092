"""What the language model learns from: texts as tokens, and the chances that the world's law gives to each next one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from embrm.core.arrays import Array, BoolArray, IntArray
from embrm.world.judge import WorldGold
from embrm.world.lm.law import MARKER, Beginning, SentenceLaw
from embrm.world.lm.tokenizer import ANSWER, CONTEXT, END, QUESTION
from embrm.world.schema import fragments
from embrm.world.world import Responses, World


class Fragment(NamedTuple):
    """A fragment of the world, or the end of a text, whose attribute is None.

    Attributes:
        text: of the fragment.
        attribute: that it is a use of.
        topic: that it belongs to; None where it fits all.
        tokens: the same wherever it stands.
    """

    text: str
    attribute: str | None
    topic: int | None
    tokens: tuple[int, ...]


class Fork(NamedTuple):
    """A place at which the law allows several next tokens, of which one may be listed twice: their chances `(m,)`."""

    at: int
    tokens: IntArray
    chances: Array


@dataclass(frozen=True, eq=False)
class Lesson:
    """A prompt and its response.

    Attributes:
        tokens: `(t,)`.
        certain: `(t,)` which tokens are the only ones that the law allows there.
        choices: where it allows several.
    """

    tokens: IntArray
    certain: BoolArray
    choices: list[Fork]


@dataclass(frozen=True, eq=False)
class Lessons:
    """Makes lessons of texts of π_ref.

    The law of the next token is known exactly, so that the model learns the chances of all that may follow, not only
    the one that was drawn. Statements of other topics are put between the sentences, as if they did not stand there:
    that one begins is no lesson, but how it goes on is. A model gives every token some chance and so strays from its
    topic at times; one that has seen others' statements then ends what it began, and does not make a new sentence of
    two.

    Attributes:
        world: wrote the texts.
        tokenizer: makes of a text the tokens of its fragments.
    """

    world: World
    tokenizer: Any

    def of(self, written: Responses, *, foreign: float, rng: np.random.Generator) -> Iterator[Lesson]:
        """Yield a lesson of each text.

        Args:
            written: texts of π_ref.
            foreign: statements of other topics a text, on average.
            rng: chooses them and their places.
        """
        asked = [f"{QUESTION}{prompt}{ANSWER}" for prompt in written.prompts]
        prompts = self.tokenizer(asked, add_special_tokens=False)["input_ids"]
        for prompt, topic, text in zip(prompts, written.topic.tolist(), written.texts, strict=True):
            said = [self._fragments[sentence] for sentence in self._judge.sentences(text)]
            for i in rng.integers(len(self._statements), size=rng.poisson(foreign)).tolist():
                other = self._statements[i]
                places = [j for j in range(len(said) + 1) if j == 0 or said[j - 1].attribute != MARKER]
                if other.topic != topic and other not in said:
                    said.insert(places[rng.integers(len(places))], other)
            yield self._lesson(prompt, topic, said)

    def _lesson(self, prompt: list[int], topic: int, said: Sequence[Fragment]) -> Lesson:
        """Make the lesson of a prompt's tokens and a response's fragments."""
        own = self._topics[topic]
        tokens, certain, choices = list(prompt), [False] * len(prompt), list[Fork]()
        used, begun = np.zeros(len(own.fragments), dtype=bool), Beginning()
        for fragment in [*said, own.fragments[-1]]:
            i, chances = own.place.get(fragment), own.chances(self._following(begun), used)
            alike = list(range(len(used)))  # those that begin as this one does
            for j, token in enumerate(fragment.tokens):
                allowed = [a for a in alike if chances[a] > 0]
                if i is not None and len(allowed) > 1:
                    following, p = np.array([own.fragments[a].tokens[j] for a in allowed]), chances[allowed]
                    choices.append(Fork(len(tokens), following, p / p.sum()))
                certain.append(not alike if i is None else len(allowed) == 1)
                tokens.append(token)
                alike = [a for a in alike if own.fragments[a].tokens[j] == token]
            if i is not None and fragment.attribute is not None:
                used[i], begun = True, begun.followed(fragment.attribute)
        counted = [choice for choice in choices if choice.at < CONTEXT]
        return Lesson(np.array(tokens[:CONTEXT]), np.array(certain[:CONTEXT]), counted)

    def _following(self, begun: Beginning) -> Mapping[str | None, float]:
        if begun not in self._known:
            self._known[begun] = self._law.following(begun)
        return self._known[begun]

    @cached_property
    def _known(self) -> dict[Beginning, Mapping[str | None, float]]:
        return {}

    @cached_property
    def _law(self) -> SentenceLaw:
        return SentenceLaw(self.world)

    @cached_property
    def _judge(self) -> WorldGold:
        return WorldGold(self.world)

    @cached_property
    def _fragments(self) -> dict[str, Fragment]:
        listed = list(fragments(self.world.spec))
        tokens = self.tokenizer([text for _, _, text in listed], add_special_tokens=False)["input_ids"]
        return {
            text: Fragment(text, name, int(place[1]) if place[0] == "topics" else None, tuple(ids))
            for (place, name, text), ids in zip(listed, tokens, strict=True)
        }

    @cached_property
    def _statements(self) -> list[Fragment]:
        return [fragment for fragment in self._fragments.values() if fragment.topic is not None]

    @cached_property
    def _topics(self) -> list[_Topic]:
        end = Fragment(END, None, None, tuple(self.tokenizer(END, add_special_tokens=False)["input_ids"]))
        known = list(self._fragments.values())
        return [_Topic([f for f in known if f.topic in (None, t)] + [end]) for t in range(len(self.world.topics))]


class _Topic:
    """What may be said of a topic.

    Attributes:
        fragments: of the topic and those that fit all, and last the end.
        place: of each.
    """

    def __init__(self, own: list[Fragment]) -> None:
        self.fragments = own
        self.place = {fragment: i for i, fragment in enumerate(own)}
        self._attributes = {name: np.array([f.attribute == name for f in own]) for name in {f.attribute for f in own}}

    def chances(self, following: Mapping[str | None, float], used: BoolArray) -> Array:
        """Return the chance of each fragment to come next, where those of an attribute that are not used are alike."""
        out = np.zeros(len(used))
        for attribute, chance in following.items():
            free = self._attributes[attribute] & ~used
            out[free] = chance / max(int(free.sum()), 1)
        return out
