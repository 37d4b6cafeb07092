"""What the world says of any text: how often each attribute is used, what it does not know, and so the gold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np

from embrm.core.arrays import Array, IntArray
from embrm.core.files import fingerprint
from embrm.data.chat import prompt_text
from embrm.errors import DataError
from embrm.lm.checkpoint import Prompt
from embrm.world.schema import fragments
from embrm.world.world import World

NAME = "world"  # what commands and configurations call this gold
UNKNOWN, NOTHING = -1, -2  # columns: the last one, and none, for the text of a response in which every count is 0
_END = re.compile(r"(?<=[.!?:]) ")  # where a sentence that is not known ends


@dataclass(frozen=True, eq=False)
class Readings:
    """What was read in `n` texts.

    Attributes:
        counts: `(n, a)` uses of each attribute by sentences of the world.
        unknown: `(n,)` how many other sentences there are.
    """

    counts: IntArray
    unknown: IntArray


@dataclass(frozen=True, eq=False)
class WorldGold:
    """The world's gold of texts that anything wrote, such as a language model: `gold(prompts, responses)` gives `(n,)`.

    Sentences of the world count as in `World.gold`. Whatever stands between them is taken apart at full stops, and
    each part costs `unknown` of `world.yaml`; so does a sentence that is repeated, a statement about another topic
    than the one asked about, and a text without a word. So every text has gold.

    Attributes:
        world: the one that judges.
    """

    world: World = field(default_factory=World.load)

    def __call__(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> Array:
        """Return the gold `(n,)` of the responses.

        Raises:
            DataError: see `read`.
        """
        found = self.read(prompts, responses)
        return self.world.worth(self.world.spec.gold, found.counts) + self.world.spec.unknown * found.unknown

    def read(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> Readings:
        """Return what stands in the responses.

        Raises:
            DataError: there are not as many prompts as responses, or a prompt is no question of the world.
        """
        if len(prompts) != len(responses):
            raise DataError(f"gold needs one prompt a response, got {len(prompts)} prompts, {len(responses)} responses")
        topics = [self._topic(prompt) for prompt in prompts]
        rows = [self._read(topic, text) for topic, text in zip(topics, responses, strict=True)]
        counts = np.array([row[:-1] for row in rows], dtype=np.int64).reshape(len(rows), len(self.world.attributes))
        return Readings(counts, np.array([row[-1] for row in rows], dtype=np.int64))

    def liking(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> Array:
        """Return what biased annotators like of the responses beyond the gold, `(n,)`."""
        return self.world.worth(self.world.spec.annotators, self.read(prompts, responses).counts)

    def means(self, prompts: Sequence[Prompt], responses: Sequence[str]) -> Mapping[str, float]:
        """Return the mean uses of each attribute, and the mean number of `unknown` sentences."""
        found = self.read(prompts, responses)
        means = np.column_stack([found.counts, found.unknown]).mean(axis=0).tolist()
        return dict(zip([*self.world.attributes, "unknown"], means, strict=True))

    def check(self) -> None:
        """Do nothing: the world is at hand, unlike a model."""

    @property
    def identity(self) -> str:
        """What the gold depends on."""
        return fingerprint(self.world.spec.model_dump(mode="json"))

    def _topic(self, prompt: Prompt) -> int:
        asked = prompt_text(prompt, "the prompt")
        if asked not in self._topics:
            raise DataError(f"{asked[:60]!r} is no question of the world, so its gold is not known; ask one of its own")
        return self._topics[asked]

    def _read(self, topic: int, text: str) -> list[int]:
        """Return the uses of each attribute, and behind them the number of unknown sentences."""
        row, seen = [0] * (len(self.world.attributes) + 1), set()
        for sentence in self.sentences(text):
            column, about = self._fragments.get(sentence, (UNKNOWN, None))
            known = sentence not in seen and about in (None, topic)
            if column != NOTHING:
                row[column if known else UNKNOWN] += 1
            seen.add(sentence)
        return row

    def sentences(self, text: str) -> Iterator[str]:
        """Yield fragments of the world, and what is between them up to the next full stop."""
        rest = text.strip()
        if not rest:
            yield ""
        while rest:
            ends = (match.start() for match in _END.finditer(rest + " "))
            end = next((i for i in ends if rest[:i] in self._fragments), None)
            if end is None:
                match = _END.search(rest)
                end = match.start() if match else len(rest)
            yield rest[:end]
            rest = rest[end:].lstrip()

    def attribute(self, sentence: str) -> str:
        """Return the attribute that a sentence of the world is a use of; "" of any other."""
        column = self._fragments.get(sentence, (UNKNOWN, None))[0]
        return self.world.attributes[column] if column >= 0 else ""

    @cached_property
    def _topics(self) -> dict[str, int]:
        return {question: t for t, topic in enumerate(self.world.spec.topics) for question in topic.questions}

    @cached_property
    def _fragments(self) -> dict[str, tuple[int, int | None]]:
        """The column of each fragment, and its topic, where it belongs to one."""
        columns = {"": NOTHING} | {name: i for i, name in enumerate(self.world.attributes)}
        return {
            text: (columns[name], int(place[1]) if place[0] == "topics" else None)
            for place, name, text in fragments(self.world.spec)
        }


def world_prompts(world: World) -> tuple[list[str], list[str]]:
    """Return ids and texts of all questions of the world: each topic in each wording."""
    asked = [(f"{t.id}-{i}", question) for t in world.spec.topics for i, question in enumerate(t.questions)]
    return [name for name, _ in asked], [question for _, question in asked]
