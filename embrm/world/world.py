"""The simulated world: responses drawn from attribute counts, with a gold reward that is known exactly."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import Array, BoolArray, IntArray
from embrm.core.names import suggestion
from embrm.errors import DataError, OptionError, UnknownNameError
from embrm.world.schema import Effect, WorldSpec, fragments, load_spec

T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class Responses:
    """Responses of the world to its prompts.

    Attributes:
        topic: `(n,)` index of each topic.
        question: `(n,)` index of the wording in which the topic was asked.
        counts: `(n, a)` uses of each attribute.
        prompts: `n` questions as asked.
        texts: `n` responses.
    """

    topic: IntArray
    question: IntArray
    counts: IntArray
    prompts: list[str]
    texts: list[str]

    def __len__(self) -> int:
        return len(self.texts)


@dataclass(frozen=True, eq=False)
class World:
    """Topics, styles, a reference policy, a gold reward and annotators, as `world.yaml` defines them."""

    spec: WorldSpec

    @classmethod
    def load(cls, path: str | Path | None = None) -> World:
        """Read a world file; without a path, the one that comes with the project.

        Raises:
            DataError: the file is absent or breaks the schema; the message names the lines.
        """
        from embrm.core.data_folder import data_folder

        return cls(load_spec(Path(path) if path is not None else data_folder() / "world.yaml"))

    @property
    def attributes(self) -> tuple[str, ...]:
        """Names of the `a` attributes, in the order of the columns of `counts`."""
        return self.spec.attributes

    @cached_property
    def reference(self) -> tuple[Array, ...]:
        """The reference policy π_ref: for each attribute the probabilities of 0, 1, 2, … uses."""
        return tuple(np.asarray(p) / sum(p) for p in self.spec.reference.counts.values())

    @property
    def topics(self) -> tuple[str, ...]:
        """Ids of the topics."""
        return tuple(topic.id for topic in self.spec.topics)

    def gold(self, counts: npt.ArrayLike) -> Array:
        """Return the gold reward `(n,)` of attribute counts `(n, a)`: each attribute helps or hurts on its own."""
        return self.worth(self.spec.gold, self._check(counts))

    def utility(self, counts: npt.ArrayLike, *, bias: float) -> Array:
        """Return what annotators go by `(n,)`: the gold, and `bias` times their liking for certain styles."""
        return self.gold(counts) + bias * self.worth(self.spec.annotators, self._check(counts))

    def tables(self, *, bias: float = 0) -> tuple[Array, ...]:
        """Return for each attribute the utility of 0, 1, 2, … uses; `bias=0` gives the gold."""
        out = []
        for name, chances in zip(self.attributes, self.reference, strict=True):
            uses = np.arange(len(chances))
            liking = self.spec.annotators.get(name, Effect(first=0, beyond=0))
            out.append(_value(self.spec.gold[name], uses) + bias * _value(liking, uses))
        return tuple(out)

    def quality(self, counts: npt.ArrayLike) -> Array:
        """Return what the gold says of the attributes of quality `(n,)`, standardised by its moments under π_ref."""
        return self._standard(counts, {name: self.spec.gold[name] for name in self.spec.confounded.quality})

    def style(self, counts: npt.ArrayLike) -> Array:
        """Return how often the attributes of style are used `(n,)`, standardised by its moments under π_ref."""
        return self._standard(counts, dict.fromkeys(self.spec.confounded.style, Effect(first=1, beyond=1)))

    def uses(self, counts: npt.ArrayLike, names: Sequence[str]) -> BoolArray:
        """Return `(n,)` whether any of the named styles is used.

        Raises:
            UnknownNameError: there is no such style.
        """
        for name in names:
            if name not in self.spec.styles:
                raise UnknownNameError(f"no style named '{name}'. {suggestion(name, list(self.spec.styles))}")
        columns = [self.attributes.index(name) for name in names]
        return np.asarray((self._check(counts)[:, columns] > 0).any(axis=1))

    def draw(self, n: int, *, rng: np.random.Generator, probabilities: Sequence[Array] | None = None) -> IntArray:
        """Draw attribute counts `(n, a)`, independently for each attribute, from π_ref or the given probabilities."""
        chances = self.reference if probabilities is None else probabilities
        return np.stack([rng.choice(len(p), size=n, p=p) for p in chances], axis=1)

    def sample(self, n: int, *, seed: int, topics: Sequence[int] | None = None) -> Responses:
        """Draw `n` responses of π_ref to random topics (of those given) in random wordings."""
        rng = np.random.default_rng(seed)
        choices = np.arange(len(self.topics)) if topics is None else np.asarray(topics)
        topic = rng.choice(choices, size=n)
        return self.respond(topic, self.draw(n, rng=rng), rng=rng)

    def respond(
        self,
        topic: npt.ArrayLike,
        counts: npt.ArrayLike,
        *,
        rng: np.random.Generator,
        question: npt.ArrayLike | None = None,
    ) -> Responses:
        """Write one response for each row of `counts` `(n, a)` to the topics `(n,)`.

        Args:
            topic: indices of topics.
            counts: uses of each attribute.
            rng: chooses fragments, their order, and the wording of the question.
            question: `(n,)` which wording; None draws one.
        """
        topic, counts = np.asarray(topic), self._check(counts)
        spec = self.spec.topics
        if question is None:
            question = np.array([rng.integers(len(spec[t].questions)) for t in topic], dtype=np.int64)
        question = np.asarray(question)
        prompts = [spec[t].questions[q] for t, q in zip(topic, question, strict=True)]
        texts = [self._render(int(t), row, rng) for t, row in zip(topic, counts, strict=True)]
        return Responses(topic, question, counts, prompts, texts)

    def write(self, counts: IntArray, *, rng: np.random.Generator) -> tuple[list[str], list[str]]:
        """Return `n` prompts, random topics in random wordings, and responses with the given counts `(n, a)`."""
        written = self.respond(rng.integers(len(self.topics), size=len(counts)), counts, rng=rng)
        return written.prompts, written.texts

    def only(self, topics: Sequence[int]) -> World:
        """Return the world of the given topics alone."""
        return World(self.spec.model_copy(update={"topics": tuple(self.spec.topics[t] for t in topics)}))

    def read(self, text: str) -> IntArray:
        """Return the attribute counts `(a,)` of a text that this world wrote: no two counts share a text.

        Raises:
            DataError: some part of the text is no fragment of the world.
        """
        counts = np.zeros(len(self.attributes), dtype=np.int64)
        rest = text + " "
        while rest:
            # No fragment begins another (the schema sees to it), so at most one can match.
            end = next((i for i in _ends(rest) if rest[:i] in self._attribute_of), None)
            if end is None:
                raise DataError(f"expected a fragment of the world at {rest[:60]!r}; only its own texts can be read")
            column = self._attribute_of[rest[:end]]
            if column >= 0:
                counts[column] += 1
            rest = rest[end + 1 :]
        return counts

    @cached_property
    def _attribute_of(self) -> dict[str, int]:
        return {text: self.attributes.index(name) if name else -1 for _, name, text in fragments(self.spec)}

    def _render(self, topic: int, row: IntArray, rng: np.random.Generator) -> str:
        sentences: list[str] = []
        markers: list[str] = []
        for name, uses in zip(self.attributes, row, strict=True):
            texts = self.spec.styles.get(name) or getattr(self.spec.topics[topic], name)
            chosen = _shuffled(texts, rng)[:uses]
            (markers if name == "list_marker" else sentences).extend(chosen)
        if not sentences:
            sentences = [self.spec.reference.empty]
        order = _shuffled(sentences, rng)
        # A marker precedes a sentence; only where there are more of them than sentences do two share one.
        at = _shuffled(range(len(order)), rng)
        for i, marker in enumerate(markers):
            place = at[i % len(at)]
            order[place] = f"{marker} {order[place]}"
        return " ".join(order)

    def worth(self, effects: dict[str, Effect], rows: IntArray) -> Array:
        """Return the sum `(n,)` of the effects of counts `(n, a)`, also of more than π_ref ever uses."""
        columns = [(effects[name], rows[:, i]) for i, name in enumerate(self.attributes) if name in effects]
        return np.asarray(sum((_value(effect, uses) for effect, uses in columns), np.zeros(len(rows))))

    def _standard(self, counts: npt.ArrayLike, effects: dict[str, Effect]) -> Array:
        moments = np.zeros(2)
        for name, effect in effects.items():
            p = self.reference[self.attributes.index(name)]
            value = _value(effect, np.arange(len(p)))
            moments += p @ value, p @ value**2 - (p @ value) ** 2
        return np.asarray((self.worth(effects, self._check(counts)) - moments[0]) / np.sqrt(moments[1]))

    def _check(self, counts: npt.ArrayLike) -> IntArray:
        rows = np.asarray(counts)
        if rows.ndim != 2 or rows.shape[1] != len(self.attributes):
            raise DataError(
                f"counts must be (n, {len(self.attributes)}) for {', '.join(self.attributes)}, got shape {rows.shape}"
            )
        most = np.array([len(p) - 1 for p in self.reference])
        if not np.issubdtype(rows.dtype, np.integer) or (rows < 0).any() or (rows > most).any():
            raise OptionError(f"counts must be integers from 0 to {most.tolist()}; clip or redraw them")
        return rows


def _shuffled(items: Iterable[T], rng: np.random.Generator) -> list[T]:
    """Return the items in the order of `rng.permutation`, which takes twice as long for so few."""
    out = list(items)
    rng.shuffle(out)
    return out


def _value(effect: Effect, uses: IntArray) -> Array:
    return effect.first * np.minimum(uses, 1) + effect.beyond * np.maximum(uses - 1, 0)


def _ends(text: str) -> list[int]:
    return [i for i, c in enumerate(text) if c == " "]
