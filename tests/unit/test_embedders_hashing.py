"""Hashed counts, against sums over n-grams counted here."""

from __future__ import annotations

import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from sklearn.utils import murmurhash3_32

from embrm import embedders
from embrm.errors import OptionError

hashing = embedders.get("hashing")


def hashed(grams: Counter[str], dimension: int) -> np.ndarray:
    out = np.zeros(dimension)
    for gram, count in grams.items():
        number = int(murmurhash3_32(gram.encode(), seed=0))
        out[abs(number) % dimension] += count if number >= 0 else -count
    return out / (np.linalg.norm(out) or 1)


@pytest.mark.parametrize("text", ["The cat sat on the mat", "a", "Ünïcode, 3.14; the THE the", "x" * 50])
@pytest.mark.parametrize("dimension", [7, 512])
def test_vectors_are_signed_counts(text: str, dimension: int) -> None:
    words = re.findall(r"\w+", text.lower())
    pairs = [f"{a} {b}" for a, b in pairwise(words)]
    padded = [f" {word} " for word in text.lower().split()]
    runs = [w[i : i + n] for w in padded for n in (3, 4, 5) for i in range(max(len(w) - n + 1, 1 if n == 3 else 0))]
    expected = hashed(Counter(words + pairs), dimension) + hashed(Counter(runs), dimension)
    got = hashing(dimension=dimension).embed([text]).vectors[0]
    np.testing.assert_allclose(got, expected / np.linalg.norm(expected), atol=1e-6)


def test_nothing_to_count_is_the_zero_vector() -> None:
    np.testing.assert_array_equal(hashing(dimension=5).embed(["", " \n"]).vectors, np.zeros((2, 5)))


def test_more_texts_than_a_slice() -> None:
    texts = [f"text number {i}" for i in range(2500)]
    x = hashing(dimension=32).embed(texts).vectors
    np.testing.assert_array_equal(
        x[[0, 1023, 1024, 2499]], hashing(dimension=32).embed(texts[0:1] + texts[1023:1025] + texts[-1:]).vectors
    )


def test_nothing_is_ever_cut() -> None:
    a, b = hashing().embed(["word " * 20_000 + "last", "word " * 20_000]).vectors
    assert hashing().embed(["word " * 20_000]).truncated == 0
    assert not np.array_equal(a, b)


def test_options_stand_in_the_identity_and_are_checked() -> None:
    assert hashing(dimension=3).identity != hashing(dimension=4).identity
    with pytest.raises(OptionError, match=r"dimension must be inside 1\.\.1048576, got 0"):
        hashing(dimension=0)
