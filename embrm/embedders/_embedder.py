"""What every embedder is: a recipe that turns texts into vectors, once."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from embrm.core.arrays import Array, BoolArray
from embrm.core.provenance import Provenance
from embrm.core.recipe import Recipe, config_of
from embrm.embedders._registry import registry
from embrm.errors import DataError


@dataclass(frozen=True, eq=False)
class Embedded:
    """Vectors and what happened to the texts on the way.

    Attributes:
        vectors: `(n, d)` float32, in the order of the texts.
        cut: `(n,)` True where the text was longer than the model reads and its end was dropped.
        computed: how many distinct texts the model had to embed (the rest came from the cache or were repeats).
    """

    vectors: Array
    cut: BoolArray
    computed: int

    @property
    def truncated(self) -> int:
        """How many of the `n` texts were cut."""
        return int(self.cut.sum())


class Embedder(Recipe, ABC):
    """A frozen map from texts to vectors. Making the recipe is free; a model is loaded when a text needs it."""

    family = registry

    @property
    def folder(self) -> Path | None:
        """The folder of this machine that the recipe names, or None where it names none."""
        return None

    @property
    def fleeting(self) -> Embedder:
        """The embedder for texts that will hardly come again, as those of a policy's steps: most often itself."""
        return self

    @property
    @abstractmethod
    def identity(self) -> str:
        """All that the vectors depend on beside the text: model, revision, prompt, length, pooling, precision."""

    @abstractmethod
    def embed(self, texts: Sequence[str], *, progress: bool = False) -> Embedded:
        """Embed `n >= 1` texts, reading and filling the cache where there is one.

        Raises:
            DataError: there are no texts, or one of them is not a string that UTF-8 can hold.
        """


def provenance_of(embedder: Embedder) -> Provenance:
    """Return what vectors of an embedder remember of it: its identity, and its recipe where it stands in the registry.

    An embedder needs no more than `identity` and `embed` for that.
    """
    known = registry.find_name(embedder) is not None
    return Provenance(embedder.identity, config_of(registry, embedder) if known else None)


def check_texts(texts: Sequence[str]) -> list[bytes]:
    """Return the texts in UTF-8, or raise DataError naming the first that is not a string or holds half a character."""
    if isinstance(texts, str):
        raise DataError("texts must be a sequence of strings, got a single string; pass [text]")
    if len(texts) == 0:
        raise DataError("there are no texts to embed; at least one is needed")
    out = []
    for i, text in enumerate(texts):
        if not isinstance(text, str):
            raise DataError(f"texts must be strings, but text {i} is {type(text).__name__}")
        try:
            out.append(text.encode("utf-8"))
        except UnicodeEncodeError as e:
            raise DataError(
                f"text {i} holds half of a surrogate pair (position {e.start}) and has no UTF-8 form; repair or drop it"
            ) from None
    return out
