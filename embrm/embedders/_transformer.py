"""What `minilm` and `sentence_transformer` share: options, identity, the way through the cache."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from embrm.embedders._embedder import Embedded, Embedder
from embrm.embedders._model import Model, bfloat16_agrees, cpu_flags
from embrm.embedders.cache.lookup import embed_cached
from embrm.embedders.cache.store import recall, remember
from embrm.errors import OptionError

BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # x86 without and with a matrix unit, ARM
_CHOICES = {
    "backend": ("torch", "onnx", "openvino"),
    "precision": ("auto", "float32", "bfloat16"),
    "long_text": ("truncate", "chunks"),
}


@dataclass(frozen=True)
class TransformerEmbedder(Embedder):
    """Options of every embedder that runs a sentence-transformers model.

    Attributes:
        backend: what computes; "onnx" and "openvino" are faster on some processors and need the extra of that name.
        precision: "bfloat16" needs a processor that computes it and a model whose vectors keep a cosine of at least
            0.999 to float32 on a probe. "auto" is bfloat16 where both hold and the processor has a matrix unit for it
            (AMX), else float32: without that unit bfloat16 was measured slower (benchmarks/embedding.py).
        long_text: of a text longer than the model reads, "truncate" drops the end (and counts it), "chunks" averages
            windows of about equal length.
        max_length: tokens read of a text (or of a window), or None for the model's own limit.
        prompt: put before every text, in the place of any default of the model; some want "query: " or the like.
        batch_size: texts computed at once; only speed and memory depend on it.
    """

    backend: Literal["torch", "onnx", "openvino"] = "torch"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    long_text: Literal["truncate", "chunks"] = "truncate"
    max_length: int | None = None
    prompt: str = ""
    batch_size: int = 32

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise OptionError(f"{name} must be one of {', '.join(choices)}, got '{getattr(self, name)}'")
        if self.batch_size < 1:
            raise OptionError(f"batch_size must be at least 1, got {self.batch_size}")
        if self.max_length is not None and self.max_length < 3:
            raise OptionError(f"max_length must be at least 3 tokens (two are special), got {self.max_length}")
        if self.precision == "bfloat16" and self.backend != "torch":
            raise OptionError(f"precision 'bfloat16' needs backend 'torch', got '{self.backend}'; use 'auto'")

    @abstractmethod
    def content(self) -> str:
        """Return what determines the model's weights and files, found without loading the model."""

    @abstractmethod
    def load(self, *, bfloat16: bool) -> Model:
        """Load the model."""

    @property
    def identity(self) -> str:
        """All that the vectors depend on beside the text, as JSON; the model is loaded only for a first probe."""
        own = {"model": self.content(), "precision": self._used_precision()}
        options = {name: getattr(self, name) for name in ("backend", "long_text", "max_length", "prompt")}
        return json.dumps(own | options, sort_keys=True, ensure_ascii=False)

    def _used_precision(self) -> str:
        if self.precision == "float32" or self.backend != "torch":
            return "float32"
        asked, flags = self.precision == "bfloat16", cpu_flags()
        if asked and flags.isdisjoint(BFLOAT16_FLAGS):
            raise OptionError("precision 'bfloat16' needs a processor that computes it (avx512_bf16); use 'auto'")
        if not asked and "amx_bf16" not in flags:
            return "float32"
        question = json.dumps(["bfloat16 agrees", self.content(), self.prompt, self.max_length])
        answer = recall(question)
        if answer is None:
            answer = str(bfloat16_agrees(self.load(bfloat16=False)))
            remember(question, answer)
        if answer == "True":
            return "bfloat16"
        if asked:
            raise OptionError("in bfloat16 this model's vectors leave those of float32 (cosine < 0.999); use 'float32'")
        return "float32"

    def embed(self, texts: Sequence[str], *, progress: bool = False) -> Embedded:
        """Embed `n` texts as `(n, d)` float32; see `Embedder.embed`.

        Raises:
            DataError: there are no texts, or one of them is not a string that UTF-8 can hold.
            CacheError: the cache cannot be read or written.
            MissingExtraError: the model or its backend is not installed; the message gives the command.
            OptionError: an option does not suit the model or the processor.
        """
        return embed_cached(texts, self.identity, self._compute, progress=progress)

    def _compute(self, texts: Sequence[str]) -> Iterator[tuple[list[int], np.ndarray, np.ndarray]]:
        """Yield (positions, vectors, cut) in batches of like length, the longest first: memory runs out at once."""
        model = _loaded(self, self._used_precision() == "bfloat16")
        lengths = np.concatenate([model.lengths(texts[i : i + 1024]) for i in range(0, len(texts), 1024)])
        long = lengths > model.limit
        order = np.argsort(-lengths, kind="stable")
        if self.long_text == "chunks":
            for i in order[long[order]].tolist():
                windows = model.windows(texts[i])
                vector = model.mean(model.encode(windows, batch_size=self.batch_size))
                yield [i], vector[None], np.array([max(model.lengths(windows)) > model.limit])
            order = order[~long[order]]
        for start in range(0, len(order), self.batch_size):
            batch = order[start : start + self.batch_size].tolist()
            yield batch, model.encode([texts[i] for i in batch], batch_size=self.batch_size), long[batch]


@lru_cache(maxsize=1)
def _loaded(recipe: TransformerEmbedder, bfloat16: bool) -> Model:
    return recipe.load(bfloat16=bfloat16)
