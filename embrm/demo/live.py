"""An embedder for texts that change with each keystroke: nothing of them is written to the cache on disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from embrm.core.arrays import Array
from embrm.embedders import Embedded, Embedder, check_texts

KEPT = 512  # vectors of the last texts


@dataclass(frozen=True)
class LiveEmbedder(Embedder):
    """Another embedder, past its cache on disk; the last vectors stay in memory.

    Attributes:
        inner: the embedder.
    """

    inner: Embedder

    def __post_init__(self) -> None:
        object.__setattr__(self, "_vector", lru_cache(KEPT)(self._compute))
        if hasattr(self.inner, "joint"):
            object.__setattr__(self, "joint", self.inner.joint)

    @property
    def identity(self) -> str:
        """That of the embedder."""
        return self.inner.identity

    def embed(self, texts: Sequence[str], *, progress: bool = False) -> Embedded:
        """Embed `n` texts; see `Embedder.embed`."""
        check_texts(texts)
        vector: Callable[[str], tuple[Array, bool]] = self._vector  # type: ignore[attr-defined]
        found = [vector(text) for text in texts]
        cut = np.array([c for _, c in found])
        return Embedded(np.stack([v for v, _ in found]), cut=cut, computed=len(set(texts)))

    def _compute(self, text: str) -> tuple[Array, bool]:
        compute = getattr(self.inner, "compute", None)
        if compute is None:
            done = self.inner.embed([text])
            return done.vectors[0], bool(done.cut[0])
        _, vectors, cut = next(iter(compute([text])))
        return np.asarray(vectors[0]), bool(cut[0])
