"""Any causal language model of transformers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Literal

import numpy as np

from embrm.core.arrays import Array, BoolArray
from embrm.core.registry import register
from embrm.embedders._causal import Replica
from embrm.embedders._content import content_of
from embrm.embedders._embedder import Embedded, Embedder
from embrm.embedders.cache.lookup import embed_cached
from embrm.errors import OptionError
from embrm.lm.batching import by_length, spread
from embrm.lm.checkpoint import Checkpoint, Conversation, Device, Precision, devices, in_bfloat16


@register
@dataclass(frozen=True)
class CausalLM(Embedder):
    """Hidden states of a causal language model: of a text's last token, or their mean.

    Prompt and response become one text by the model's chat template (`joint`); without a template, or with
    `template=False`, they are joined like everywhere by an empty line. Padding on either side gives the same vectors; a
    tokenizer without a pad token pads with its end-of-text token, which the attention mask hides. Every visible GPU
    has a copy of the model. Where memory runs out, batches are halved, with a `MemoryWarning`. A folder is known to
    the cache by the content of its files, a model of the hub by its commit.

    Attributes:
        model: the path of a folder, or an id on the Hugging Face hub.
        revision: branch, tag or commit on the hub.
        pooling: "last" token, which has read the whole text, or the "mean" over all tokens.
        layer: whose output: 0 is what enters the first layer, -1 the last layer's output, normalised as the model does.
        template: whether to use the model's chat template.
        max_length: tokens read of a text, or as many as the model reads where that is less; the end is cut off.
        normalize: whether vectors get unit length.
        precision: "auto" is bfloat16 on GPUs that have it, else float32.
        device: "cuda" and "auto" take all visible GPUs.
        batch_size: texts computed at once on a device; only speed and memory depend on it (in bfloat16 the last digits
            of a vector do too).
    """

    model: str = ""
    revision: str | None = None
    pooling: Literal["last", "mean"] = "last"
    layer: int = -1
    template: bool = True
    max_length: int = 2048
    normalize: bool = True
    precision: Precision = "auto"
    device: Device = "auto"
    batch_size: int = 32

    def __post_init__(self) -> None:
        self._checkpoint  # noqa: B018 - checked when made
        if self.pooling not in ("last", "mean"):
            raise OptionError(f"pooling must be one of last, mean, got '{self.pooling}'")
        for name in ("max_length", "batch_size"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be at least 1, got {getattr(self, name)}")

    @property
    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(self.model, self.revision)

    @property
    def _conversation(self) -> Conversation:
        return _conversation(self._checkpoint, self._checkpoint.stamps(), self.template)

    @property
    def folder(self) -> Path | None:
        """The model's folder, or None for a model of the hub."""
        return self._checkpoint.folder

    @property
    def identity(self) -> str:
        """All that the vectors depend on beside the text, as JSON; no model is loaded for it.

        Raises:
            OptionError: the hub cannot be reached, or the device is not there.
        """
        bfloat16 = in_bfloat16(self.precision, device=self.device)
        own = {"model": content_of(self._checkpoint), "precision": "bfloat16" if bfloat16 else "float32"}
        options = {name: getattr(self, name) for name in ("pooling", "layer", "template", "max_length", "normalize")}
        return json.dumps(own | options, sort_keys=True)

    def joint(self, prompt: str, response: str) -> str:
        """Return prompt and response as the text that is embedded for both; a response alone stays as it is.

        Raises:
            OptionError: the model cannot be loaded.
        """
        return self._conversation.text(prompt, response) if prompt else response

    def embed(self, texts: Sequence[str], *, progress: bool = False) -> Embedded:
        """Embed `n` texts as `(n, d)` float32; see `Embedder.embed`.

        Raises:
            DataError: there are no texts, or one of them is not a string that UTF-8 can hold.
            CacheError: the cache cannot be read or written.
            OptionError: the model cannot be loaded, has no such layer, the device is not there, or a single text does
                not fit into its memory.
        """
        return embed_cached(texts, self.identity, self._compute, progress=progress)

    def _compute(self, texts: Sequence[str]) -> Iterator[tuple[list[int], Array, BoolArray]]:
        bfloat16 = in_bfloat16(self.precision, device=self.device)
        replicas = _replicas(self._checkpoint, self._conversation, tuple(devices(self.device)), bfloat16)
        replicas[0].check_layer(self.layer)
        limit = min(self.max_length, replicas[0].limit)
        every = self._conversation.tokens(texts)
        lengths = np.array([len(tokens) for tokens in every])
        rows = [tokens[:limit] for tokens in every]

        def work(replica: Replica, batch: list[int]) -> Array:
            return replica.encode([rows[i] for i in batch], layer=self.layer, mean=self.pooling == "mean")

        batches = by_length([len(row) for row in rows], size=self.batch_size)
        for batch, vectors in spread(work, batches, workers=replicas):
            if self.normalize:
                vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
            yield batch, vectors, lengths[batch] > limit


# Files that were changed are another model under the same name: their stamps are part of the key.
@lru_cache(maxsize=2)
def _conversation(checkpoint: Checkpoint, stamps: object, template: bool) -> Conversation:
    return Conversation(checkpoint.tokenizer(), template=template)


@lru_cache(maxsize=1)
def _replicas(
    checkpoint: Checkpoint, conversation: Conversation, places: tuple[str, ...], bfloat16: bool
) -> list[Replica]:
    return [Replica(checkpoint, conversation, device=place, bfloat16=bfloat16) for place in places]
