"""Texts as hashes of eight bytes, by which a model knows those that it was trained on without keeping them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import BoolArray
from embrm.errors import DataError

HashArray: TypeAlias = npt.NDArray[np.uint64]

NO_PROMPT = 0
SAVED = ("seen_texts", "seen_prompts")  # names of the arrays in a saved model


@dataclass(frozen=True, eq=False)
class TextHashes:
    """The hashes of `m` texts, each a response to a prompt.

    Two of t texts have one hash with a chance of t² / 2⁶⁵: 1e-7 of two million.

    Attributes:
        text: `(m,)` of prompt and response together.
        prompt: `(m,)` of the prompt, 0 where there is none.
    """

    text: HashArray
    prompt: HashArray

    @classmethod
    def of(cls, prompts: Sequence[str], responses: Sequence[str]) -> TextHashes:
        """Return the hashes of texts as they are embedded, `""` for a prompt that is not there."""
        asked = {prompt: _hash(prompt) if prompt else NO_PROMPT for prompt in dict.fromkeys(prompts)}
        text = [_hash(prompt, response) for prompt, response in zip(prompts, responses, strict=True)]
        return cls(np.array(text, dtype=np.uint64), np.array([asked[p] for p in prompts], dtype=np.uint64))

    def __len__(self) -> int:
        return len(self.text)

    @classmethod
    def joined(cls, parts: Sequence[TextHashes]) -> TextHashes:
        """Return those of all parts, one after the other."""
        return cls(np.concatenate([part.text for part in parts]), np.concatenate([part.prompt for part in parts]))

    def take(self, rows: npt.ArrayLike) -> TextHashes:
        """Return those of the given rows (indices or a mask)."""
        rows = np.asarray(rows)
        return TextHashes(self.text[rows], self.prompt[rows])


@dataclass(frozen=True, eq=False)
class TrainingTexts:
    """What a model was trained on.

    Attributes:
        texts: `(t,)` hashes of the texts, sorted, each once.
        prompts: `(p,)` hashes of their prompts, sorted, each once.
    """

    texts: HashArray
    prompts: HashArray

    @classmethod
    def of(cls, hashes: TextHashes) -> TrainingTexts:
        """Return the set of these texts."""
        return cls(np.unique(hashes.text), np.unique(hashes.prompt[hashes.prompt != NO_PROMPT]))

    @classmethod
    def read(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> TrainingTexts | None:
        """Return what `arrays` gave, out of all arrays of a saved model; None where it did not keep it.

        Raises:
            DataError: the arrays are no sorted hashes, or one of them is missing.
        """
        found = [arrays[name] for name in SAVED if name in arrays]
        if not found:
            return None
        if len(found) < len(SAVED) or not all(_is_sorted(a) for a in found):
            raise DataError(f"{' and '.join(SAVED)} must be sorted hashes, 64-bit and without a sign; save it again")
        return cls(*found)

    def arrays(self) -> dict[str, Any]:
        """Return what is saved of it, by name."""
        return dict(zip(SAVED, (self.texts, self.prompts), strict=True))

    def __or__(self, other: TrainingTexts) -> TrainingTexts:
        return TrainingTexts(np.union1d(self.texts, other.texts), np.union1d(self.prompts, other.prompts))

    def has_text(self, hashes: TextHashes) -> BoolArray:
        """Say of each text whether it was trained on, `(m,)`."""
        return _among(hashes.text, self.texts)

    def has_prompt(self, hashes: TextHashes) -> BoolArray:
        """Say of each text whether its prompt was, be it with other responses, `(m,)`; not where it has none."""
        return _among(hashes.prompt, self.prompts)


def _hash(*parts: str) -> int:
    """Return eight bytes of BLAKE2b; lengths keep ("a", "bc") apart from ("ab", "c")."""
    data = "\0".join(f"{len(part)} {part}" for part in parts).encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")


def _among(values: HashArray, known: HashArray) -> BoolArray:
    if not len(known):
        return np.zeros(len(values), dtype=bool)
    place = np.searchsorted(known, values)
    return np.asarray(known[np.minimum(place, len(known) - 1)] == values)


def _is_sorted(a: npt.NDArray[Any]) -> bool:
    return a.dtype == np.uint64 and a.ndim == 1 and bool((a[1:] > a[:-1]).all())
