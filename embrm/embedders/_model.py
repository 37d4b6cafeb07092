"""A sentence-transformers model in memory: token counts, windows, vectors. Only this module loads torch."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from embrm.core.arrays import Array
from embrm.core.threads import all_threads
from embrm.errors import MissingExtraError, OptionError
from embrm.lm.checkpoint import quiet

NEEDS = {"torch": (), "onnx": ("optimum", "onnxruntime"), "openvino": ("optimum", "openvino")}  # packages of a backend


def missing_packages(backend: str) -> list[str]:
    """Return the packages that a backend needs and that are not installed."""
    return [package for package in NEEDS[backend] if importlib.util.find_spec(package) is None]


class Model:
    """A model, loaded.

    Args:
        place: a folder or a hub id.
        revision: commit on the hub, or None.
        backend: "torch", "onnx" or "openvino".
        bfloat16: compute the first module (the transformer) in bfloat16; pooling and normalising stay in float32.
        prompt: put before every text.
        max_length: tokens read of a text, or None for the model's own limit.

    Raises:
        MissingExtraError: the backend's packages are absent.
        OptionError: `max_length` is more than the model can read, or the prompt leaves no room for a text.
        OSError: the files are not there or cannot be fetched.
    """

    def __init__(
        self, place: str, *, revision: str | None, backend: str, bfloat16: bool, prompt: str, max_length: int | None
    ) -> None:
        if missing := missing_packages(backend):
            raise MissingExtraError(f"backend '{backend}' needs {', '.join(missing)}: pip install 'embrm[{backend}]'")
        from sentence_transformers import SentenceTransformer

        with quiet():
            self._net = SentenceTransformer(place, revision=revision, backend=backend, device="cpu")  # type: ignore[arg-type]
        self.prompt = prompt
        own = self._net.max_seq_length
        if max_length is not None:
            self._net.max_seq_length = max_length
            if own is None or max_length > own:
                self._try_length(max_length)
        self.limit: float = self._net.max_seq_length or math.inf
        self.room = self.limit - self.lengths([""])[0]
        if self.room < 1:
            raise OptionError(f"the prompt fills all {self.limit} tokens that the model reads of a text; shorten it")
        if bfloat16:
            self._net[0].bfloat16()
            self._net[0].register_forward_hook(_to_float32)

    def _try_length(self, length: int) -> None:
        try:
            self.encode(["a " * length], batch_size=1)
        except (IndexError, RuntimeError) as e:
            raise OptionError(f"max_length={length} is more than this model can read ({e}); lower it") from e

    @all_threads
    def encode(self, texts: Sequence[str], *, batch_size: int) -> Array:
        """Return `(n, d)` float32."""
        vectors = self._net.encode(list(texts), prompt=self.prompt, batch_size=batch_size, show_progress_bar=False)
        return np.asarray(vectors, dtype=np.float32)

    def lengths(self, texts: Sequence[str]) -> list[int]:
        """Return how many tokens each text has, with the prompt and the special tokens."""
        tokens = self._net.tokenizer([self.prompt + text for text in texts], truncation=False, verbose=False)
        return [len(ids) for ids in tokens["input_ids"]]

    def windows(self, text: str) -> list[str]:
        """Cut a text into the fewest windows that the model can read, of about equal length, between words.

        Raises:
            OptionError: the tokenizer cannot say where its tokens stand.
        """
        if not self._net.tokenizer.is_fast:
            raise OptionError("long_text='chunks' needs a fast tokenizer, which this model lacks; use 'truncate'")
        tokens = self._net.tokenizer(
            text, add_special_tokens=False, return_offsets_mapping=True, truncation=False, verbose=False
        )
        place, word = tokens["offset_mapping"], tokens.word_ids(0)
        out, start = list[str](), 0
        while start < len(place):
            left = math.ceil((len(place) - start) / self.room)
            stop = end = start + math.ceil((len(place) - start) / left)
            while start < stop < len(place) and word[stop] == word[stop - 1]:
                stop -= 1
            stop = stop if stop > start else end  # one word longer than a window
            out.append(text[place[start][0] : place[stop - 1][1]])
            start = stop
        return out

    def mean(self, vectors: Array) -> Array:
        """Return the mean `(d,)` of windows `(w, d)`, of unit length where the model's vectors are."""
        mean = np.asarray(vectors.mean(axis=0))
        if any(type(module).__name__ == "Normalize" for module in self._net):
            mean /= max(float(np.linalg.norm(mean)), 1e-12)
        return mean


def _to_float32(module: Any, args: Any, out: dict[str, Any]) -> dict[str, Any]:
    import torch

    return {k: v.float() if isinstance(v, torch.Tensor) and v.is_floating_point() else v for k, v in out.items()}
