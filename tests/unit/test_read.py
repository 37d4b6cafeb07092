"""From files to pairs and candidates."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embrm.core.arrays import Array
from embrm.core.data import Candidates, Pairs, Provenance
from embrm.data.encode import TruncationWarning
from embrm.data.read import read, read_candidates, read_pairs
from embrm.data.texts import number_prompts, read_texts
from embrm.embedders import Embedded, Embedder, get, provenance_of
from embrm.errors import DataError, OptionError

HASHING = get("hashing")(dimension=64)


def file(folder: Path, *rows: dict[str, Any], name: str = "rows.jsonl") -> Path:
    (folder / name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder / name


def vector(text: str) -> Array:
    return np.asarray(HASHING.embed([text]).vectors[0])


PAIRS: list[dict[str, Any]] = [
    {"prompt": "p", "chosen": "a", "rejected": "b", "weight": 2, "margin": 0.5},
    {"prompt": "p", "chosen": "b", "rejected": "c", "tie": True},
    {"prompt": "q", "chosen": "a", "rejected": "bb"},
]


def test_pairs_store_no_text_twice_and_know_their_prompts(tmp_path: Path) -> None:
    pairs = read_pairs(file(tmp_path, *PAIRS), embedder=HASHING)
    assert len(pairs.features) == 5  # p: a, b, c; q: a, bb
    np.testing.assert_array_equal(pairs.chosen, [0, 1, 3])
    np.testing.assert_array_equal(pairs.rejected, [1, 2, 4])
    np.testing.assert_array_equal(pairs.features.prompt, [0, 0, 0, 1, 1])
    np.testing.assert_array_equal(pairs.features.length, [1, 1, 1, 1, 2])
    for array, expected in ((pairs.weight, [2, 1, 1]), (pairs.margin, [0.5, 0, 0]), (pairs.tie, [False, True, False])):
        np.testing.assert_array_equal(array, expected)
    assert pairs.features.embedder == provenance_of(HASHING)
    np.testing.assert_array_equal(pairs.features.matrix("joint")[3], vector("q\n\na"))


def test_views_hold_what_they_say(tmp_path: Path) -> None:
    pairs = read_pairs(file(tmp_path, *PAIRS), embedder=HASHING, views=("joint", "prompt", "response"))
    np.testing.assert_array_equal(pairs.features.matrix("prompt")[4], vector("q"))
    np.testing.assert_array_equal(pairs.features.matrix("response")[4], vector("bb"))
    with pytest.raises(OptionError, match=r"no view 'both'; texts can be embedded as joint, prompt, response"):
        read_pairs(file(tmp_path, *PAIRS), embedder=HASHING, views=("both",))


def test_features_made_elsewhere_stand_in_the_order_of_the_file(tmp_path: Path) -> None:
    x = np.arange(12, dtype=np.float64).reshape(6, 2)
    pairs = read_pairs(file(tmp_path, *PAIRS), features=x)
    np.testing.assert_array_equal(pairs.chosen, [0, 2, 4])
    np.testing.assert_array_equal(pairs.features.matrix("joint"), x)
    np.testing.assert_array_equal(pairs.features.prompt, [0, 0, 0, 0, 1, 1])
    assert pairs.features.embedder == Provenance()
    with pytest.raises(DataError, match=r"chosen, rejected of each pair\): expected 6 rows, got 5"):
        read_pairs(file(tmp_path, *PAIRS), features=x[:5])


def said(*texts: str) -> list[dict[str, str]]:
    return [{"role": ("user", "assistant")[i % 2], "content": text} for i, text in enumerate(texts)]


@pytest.mark.parametrize(
    ("row", "prompt", "chosen", "rejected"),
    [
        ({"prompt": said("hi"), "chosen": said("", "yo")[1:], "rejected": said("", "no")[1:]}, "hi", "yo", "no"),
        ({"chosen": said("hi", "yo"), "rejected": said("hi", "no")}, "hi", "yo", "no"),
        (
            {"chosen": said("hi", "yo", "so", "x"), "rejected": said("hi", "yo", "so", "y")},
            "user: hi\n\nassistant: yo\n\nuser: so",
            "x",
            "y",
        ),
        (
            {"chosen": "\n\nHuman: hi\n\nAssistant: I do", "rejected": "\n\nHuman: hi\n\nAssistant: I don't"},
            "Human: hi\n\nAssistant:",
            "I do",
            "I don't",
        ),
        ({"chosen": "Name a pet. Cat", "rejected": "Name a pet. Cow"}, "Name a pet.", "Cat", "Cow"),
        ({"chosen": "Yes", "rejected": "No"}, "", "Yes", "No"),
        ({"prompt": "", "chosen": "a b", "rejected": "a c"}, "", "a b", "a c"),
        (
            {
                "prompt": "p",
                "chosen": [{"role": "assistant", "content": [{"type": "text", "text": "x"}]}],
                "rejected": "y",
            },
            "p",
            "x",
            "y",
        ),
    ],
)
def test_trl_s_columns(row: dict[str, Any], prompt: str, chosen: str, rejected: str, tmp_path: Path) -> None:
    texts = read_texts(file(tmp_path, row))
    assert (texts.kind, texts.prompts, texts.responses) == ("pairs", [prompt, prompt], [chosen, rejected])


def test_rows_without_a_prompt_are_prompts_of_their_own_and_prompts_keep_their_number(tmp_path: Path) -> None:
    one = read_texts(file(tmp_path, {"chosen": "Yes", "rejected": "No"}, {"chosen": "A", "rejected": "B"}, PAIRS[0]))
    two = read_texts(file(tmp_path, {"prompt": "p", "response": "x"}, {"response": "y"}, name="two.jsonl"))
    numbers = number_prompts(one, two)
    np.testing.assert_array_equal(numbers[0], [0, 0, 1, 1, 2, 2])
    np.testing.assert_array_equal(numbers[1], [2, 3])


POOLS: list[dict[str, Any]] = [
    {"id": "x", "prompt": "p", "responses": ["a", "b", "a"], "gold": [0, 1, 2], "policy": ["m", "n", "m"]},
    {"prompt": said("q"), "responses": ["c"], "gold": [3], "policy": ["n"]},
]


def test_candidates(tmp_path: Path) -> None:
    pools = read_candidates(file(tmp_path, *POOLS), embedder=HASHING)
    np.testing.assert_array_equal(pools.offsets, [0, 3, 4])
    np.testing.assert_array_equal(pools.gold, [0, 1, 2, 3])
    assert pools.policy == ["m", "n", "m", "n"]
    np.testing.assert_array_equal(pools.features.prompt, [0, 0, 0, 1])
    np.testing.assert_array_equal(pools.features.matrix("joint")[3], vector("q\n\nc"))
    bare = [{k: row[k] for k in ("prompt", "responses")} for row in POOLS]
    pools = read_candidates(file(tmp_path, *bare), features=np.eye(4))
    assert (pools.gold, pools.policy) == (None, None)
    assert read_texts(file(tmp_path, *POOLS)).names == [("x", 0), ("x", 1), ("x", 2), ("2", 0)]


def test_the_columns_tell_what_a_file_is(tmp_path: Path) -> None:
    assert isinstance(read(file(tmp_path, *PAIRS), embedder=HASHING), Pairs)
    assert isinstance(read(file(tmp_path, *POOLS), embedder=HASHING), Candidates)
    single = read(file(tmp_path, {"prompt": "p", "response": "a"}), embedder=HASHING)
    assert isinstance(single, Candidates)
    np.testing.assert_array_equal(single.offsets, [0, 1])


class Short(Embedder):
    """Reads three characters."""

    identity = "short"

    def embed(self, texts: Sequence[str], *, progress: bool = False) -> Embedded:
        vectors = np.array([[len(text[:3]), 1] for text in texts], dtype=np.float32)
        return Embedded(vectors, cut=np.array([len(text) > 3 for text in texts]), computed=len(texts))


def test_truncated_texts_are_counted(tmp_path: Path) -> None:
    rows = [{"prompt": "", "chosen": "abcd", "rejected": "a"}, {"prompt": "", "chosen": "abcde", "rejected": "b"}]
    with pytest.warns(TruncationWarning, match=r"2 of 4 texts are longer than the embedder reads"):
        read_pairs(file(tmp_path, *rows), embedder=Short())


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"prompt": "p", "chosen": "a"}, r"has no column 'rejected', which pairs need; found: chosen, prompt$"),
        ({"prompt": "p", "chosen": "a", "Rejected": "b"}, r"say so by --columns rejected=Rejected"),
        ({"prompt": 1, "chosen": "a", "rejected": "b"}, r"line 1: prompt must be text or a list of messages, got 1"),
        ({"prompt": "p", "chosen": "a", "rejected": "a"}, r"line 1: chosen equals rejected"),
        (
            {"prompt": "p", "chosen": "a", "rejected": "b", "tie": "no"},
            r"line 1: tie must be a finite number",
        ),
        ({"prompt": "p\ud800", "chosen": "a", "rejected": "b"}, r"prompt holds half of a surrogate pair at position 1"),
    ],
)
def test_bad_rows_are_explained(row: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        read_pairs(file(tmp_path, row), embedder=HASHING)
