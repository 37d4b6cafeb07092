"""Signed feature hashing: vectors without a model, for tests and for teaching."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embrm.core.registry import register
from embrm.embedders._embedder import Embedded, Embedder, check_texts
from embrm.errors import OptionError

MOST = 1 << 20  # buckets: a vector is dense, 4 MB then
SLICE = 1024  # texts at a time: the sparse counts of a slice stay small beside the dense result


@register
@dataclass(frozen=True)
class Hashing(Embedder):
    """Hashed counts of words and character n-grams; no model, no download, the same on every machine.

    Words and pairs of words, and runs of 3 to 5 characters inside words, are counted into `dimension` signed buckets
    (Weinberger et al. 2009, Feature Hashing for Large Scale Multitask Learning); the two halves have equal weight, and
    the vector has unit length. A text without any letter or digit to count becomes the zero vector. Nothing is cached
    and nothing is ever cut.

    Attributes:
        dimension: number of buckets `d`; fewer buckets blur different words into one.
    """

    dimension: int = 512

    def __post_init__(self) -> None:
        if not 1 <= self.dimension <= MOST:
            raise OptionError(f"dimension must be inside 1..{MOST}, got {self.dimension}")

    @property
    def identity(self) -> str:
        """What the vectors depend on beside the text."""
        return f"hashing dimension={self.dimension}"

    def embed(self, texts: Sequence[str], *, progress: bool = False) -> Embedded:
        """Embed `n` texts as `(n, dimension)` float32; see `Embedder.embed`."""
        from sklearn.feature_extraction.text import HashingVectorizer
        from sklearn.preprocessing import normalize
        from tqdm import tqdm

        check_texts(texts)
        words = HashingVectorizer(n_features=self.dimension, ngram_range=(1, 2), token_pattern=r"\w+")
        characters = HashingVectorizer(n_features=self.dimension, ngram_range=(3, 5), analyzer="char_wb")
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        with tqdm(total=len(texts), unit="text", disable=not progress) as bar:
            for start in range(0, len(texts), SLICE):
                part = texts[start : start + SLICE]
                both = words.transform(part) + characters.transform(part)
                vectors[start : start + len(part)] = normalize(both).toarray()
                bar.update(len(part))
        return Embedded(vectors, cut=np.zeros(len(texts), dtype=bool), computed=len(set(texts)))
