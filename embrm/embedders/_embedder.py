"""What every embedder is: a recipe that turns texts into vectors, once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from embrm.types import Array


@dataclass(frozen=True, eq=False)
class Embedded:
    """Vectors and what happened to the texts on the way.

    Attributes:
        vectors: `(n, d)` float32, in the order of the texts.
        truncated: how many of the `n` texts were longer than the model reads and were cut.
        computed: how many distinct texts the model had to embed (the rest came from the cache or were repeats).
    """

    vectors: Array
    truncated: int
    computed: int


class Embedder(Protocol):
    """A frozen map from texts to vectors."""

    @property
    def identity(self) -> str:
        """All that the vectors depend on beside the text: model, revision, prompt, length, pooling, precision."""

    def embed(self, texts: Sequence[str], *, progress: bool = False) -> Embedded:
        """Embed the texts, reading and filling the cache."""
