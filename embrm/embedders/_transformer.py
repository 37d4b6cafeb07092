"""What `minilm` and `sentence_transformer` share: options, identity, the way through the cache."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import Literal

import numpy as np

from embrm.embedders._embedder import Embedded, Embedder
from embrm.embedders._fastest import COSINE_FLOOR, PROBES, REFERENCE, Probed, Way, measure, question
from embrm.embedders._model import NEEDS, Model, missing_packages
from embrm.embedders.cache.lookup import embed_cached
from embrm.embedders.cache.store import recall, remember
from embrm.errors import OptionError

_CHOICES = {
    "backend": ("auto", "torch", "onnx", "openvino"),
    "precision": ("auto", "float32", "bfloat16"),
    "long_text": ("truncate", "chunks"),
}


@dataclass(frozen=True)
class TransformerEmbedder(Embedder):
    """Options of every embedder that runs a sentence-transformers model.

    Attributes:
        backend: what computes; "onnx" and "openvino" are faster on some processors and need the extra of that name, and
            may have to convert the model whenever it is loaded. "auto" is the fastest of those that are installed.
        precision: "bfloat16" rounds inside the model, and needs one whose vectors keep a cosine of at least 0.999 to
            float32 on a probe. "auto" is the faster of the two where that holds.
        long_text: of a text longer than the model reads, "truncate" drops the end (and counts it), "chunks" averages
            windows of about equal length.
        max_length: tokens read of a text (or of a window), or None for the model's own limit.
        prompt: put before every text, in the place of any default of the model; some want "query: " or the like.
        batch_size: texts computed at once; only speed and memory depend on it.

    What "auto" means is measured, once for a model and a machine, and remembered in the cache (`embrm doctor` shows
    it): a few texts are embedded in turns, and torch in float32 is left for what is a tenth faster.
    """

    backend: Literal["auto", "torch", "onnx", "openvino"] = "torch"
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
        if self.precision == "bfloat16" and self.backend not in ("torch", "auto"):
            raise OptionError(f"precision 'bfloat16' needs backend 'torch', got '{self.backend}'; use 'auto'")

    @abstractmethod
    def content(self) -> str:
        """Return what determines the model's weights and files, found without loading the model."""

    @abstractmethod
    def load(self, way: Way) -> Model:
        """Load the model, to compute in that way."""

    @property
    def identity(self) -> str:
        """All that the vectors depend on beside the text, as JSON; the model is loaded only for a first probe."""
        own = {"model": self.content(), **self.way()._asdict()}
        options = {name: getattr(self, name) for name in ("long_text", "max_length", "prompt")}
        return json.dumps(own | options, sort_keys=True, ensure_ascii=False)

    def way(self) -> Way:
        """Return the backend and precision in use; the model is loaded only where they were never measured.

        Raises:
            OptionError: bfloat16 was asked for and does not suit the model.
        """
        ways = self._ways()
        if len(ways) == 1 and ways[0].precision == "float32":
            return ways[0]
        found = self.measured() or self._measure()
        if self.precision != "bfloat16":
            return found.best
        if found.cosine[ways[0]] < COSINE_FLOOR:
            raise OptionError("in bfloat16 this model's vectors leave those of float32 (cosine < 0.999); use 'float32'")
        return ways[0]

    def measured(self) -> Probed | None:
        """Return what was measured of this model on this machine, or None where nothing was."""
        answer = recall(self._question())
        return None if answer is None else Probed.read(answer)

    def _measure(self) -> Probed:
        models = {way: self.load(way) for way in dict.fromkeys((REFERENCE, *self._ways()))}
        found = measure({way: partial(model.encode, batch_size=len(PROBES)) for way, model in models.items()})
        if other := self.measured():
            return other  # of another process, meanwhile: both go on with the same
        remember(self._question(), found.as_json())
        return found

    def _question(self) -> str:
        return question(self.content(), [self.prompt, self.max_length], self._ways())

    def _ways(self) -> list[Way]:
        """Return the ways that the options leave open."""
        if self.precision == "bfloat16":
            return [Way("torch", "bfloat16")]
        installed = [name for name in NEEDS if not missing_packages(name)]
        backends = installed if self.backend == "auto" else [self.backend]
        ways = [Way(name, "float32") for name in backends]
        return [*ways, Way("torch", "bfloat16")] if self.precision == "auto" and "torch" in backends else ways

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
        model = _loaded(self, self.way())
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
def _loaded(recipe: TransformerEmbedder, way: Way) -> Model:
    return recipe.load(way)
