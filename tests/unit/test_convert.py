"""Rankings and ratings by hand; annotators kept apart; rows that `read_pairs` reads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embrm import Features, Pairs, read_pairs
from embrm.data.convert import from_rankings, from_ratings, together, trl_rows
from embrm.errors import DataError, OptionError


def texts(*prompt: int) -> Features:
    return Features({"joint": np.arange(len(prompt), dtype=float)[:, None]}, prompt=np.array(prompt))


def listed(pairs: Pairs) -> set[tuple[int, int]]:
    return set(zip(pairs.chosen.tolist(), pairs.rejected.tolist(), strict=True))


def test_ratings_are_compared_inside_a_prompt() -> None:
    features = texts(0, 0, 0, 1, 1)
    labels = from_ratings(features, [3.0, 1.0, 2.0, 5.0, 4.0], margins=True)
    assert set(labels) == {""}
    assert listed(labels[""]) == {(0, 1), (0, 2), (2, 1), (3, 4)}
    assert labels[""].margin is not None
    gap = dict(zip(zip(labels[""].chosen, labels[""].rejected, strict=True), labels[""].margin, strict=True))
    assert (gap[0, 1], gap[2, 1]) == (2.0, 1.0)


def test_annotators_are_never_compared_with_each_other() -> None:
    """One rates low and one high: across annotators the high one's worst beats the low one's best."""
    labels = from_ratings(
        texts(0, 0, 1, 1),
        [1.0, 2.0, 9.0, 8.0, 2.0, 1.0],
        row=[0, 1, 0, 1, 2, 3],
        annotator=["low", "low", "high", "high", "low", "low"],
    )
    assert {name: listed(pairs) for name, pairs in labels.items()} == {"low": {(1, 0), (2, 3)}, "high": {(0, 1)}}
    assert sorted(zip(*(a.tolist() for a in (together(labels).chosen, together(labels).rejected)), strict=True)) == [
        (0, 1), (1, 0), (2, 3),
    ]  # fmt: skip


def test_small_gaps_are_ties() -> None:
    rating = [1.0, 1.5, 3.0]
    assert listed(from_ratings(texts(0, 0, 0), rating, least_gap=0.5)[""]) == {(2, 0), (2, 1)}
    kept = from_ratings(texts(0, 0, 0), rating, least_gap=0.5, ties="keep", margins=True)[""]
    assert kept.tie is not None
    assert kept.margin is not None
    assert listed(kept.take(kept.tie)) == {(1, 0)}
    np.testing.assert_array_equal(kept.margin[kept.tie], [0.0])
    joined = together({"a": kept, "b": from_ratings(kept.features, rating)[""]})
    assert joined.tie is not None
    assert joined.tie.sum() == 1
    assert len(joined) == 6


def test_rankings() -> None:
    features = texts(0, 0, 0, 1, 1)
    assert listed(from_rankings(features, [[2, 0, 1], [4, 3]])[""]) == {(2, 0), (2, 1), (0, 1), (4, 3)}
    assert listed(from_rankings(features, [[2, 0, 1]], adjacent=True)[""]) == {(2, 0), (0, 1)}
    apart = from_rankings(features, [[0, 1], [1, 0], [3, 4]], annotator=["a", "b", "b"])
    assert {name: listed(pairs) for name, pairs in apart.items()} == {"a": {(0, 1)}, "b": {(1, 0), (3, 4)}}


def test_rows_are_read_as_pairs(tmp_path: Path) -> None:
    rows = trl_rows(
        [
            {"prompt": "p", "responses": ["a b", "c d", "e f"], "ratings": [1, 3, 2], "annotator": "x"},
            {"prompt": "q", "responses": ["g h", "i j", "g h"], "ranking": [1, 0]},
        ]
    )
    assert {(r["prompt"], r["chosen"], r["rejected"]) for r in rows} == {
        ("p", "c d", "a b"), ("p", "c d", "e f"), ("p", "e f", "a b"), ("q", "i j", "g h"),
    }  # fmt: skip
    assert [r.get("annotator") for r in rows] == ["x", "x", "x", None]
    file = tmp_path / "prefs.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows))
    pairs = read_pairs(file, embedder="hashing")
    assert len(pairs) == 4
    assert len(pairs.features) == 5
    tied = trl_rows([{"prompt": "p", "responses": ["a", "b", "a"], "ratings": [1, 1, 2]}], ties="keep")
    assert [(r["chosen"], r["rejected"], r["tie"]) for r in tied] == [("a", "b", True), ("a", "b", False)]


def test_an_annotator_without_a_preference_is_told() -> None:
    with pytest.warns(UserWarning, match="1 annotators give no pair, first: 'b'"):
        labels = from_ratings(texts(0, 0), [1.0, 2.0, 3.0], row=[0, 1, 0], annotator=["a", "a", "b"])
    assert list(labels) == ["a"]


@pytest.mark.parametrize(
    ("rating", "options", "message"),
    [
        ([1.0, 1.0], {}, "no pair comes out"),
        ([1.0, 2.0], {"row": [0, 0]}, "annotator '' rated a text twice"),
        ([1.0, 2.0], {"row": [0, 7]}, r"row must index the 2 rows of features, got 0..7"),
        ([1.0], {}, r"rating must have shape \(2,\)"),
        ([1.0, np.nan], {}, "rating must be finite"),
        ([1.0, 2.0], {"annotator": ["a"]}, "annotator must give 2 names, got 1"),
    ],
)
def test_bad_ratings_are_refused(rating: list[float], options: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        from_ratings(texts(0, 0), rating, **options)


def test_other_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match="ranking 1 names a text twice"):
        from_rankings(texts(0, 0), [[0, 1], [1, 1]])
    with pytest.raises(DataError, match="pairs compare texts of different prompts"):
        from_rankings(texts(0, 1), [[0, 1]])
    with pytest.raises(OptionError, match="ties must be 'drop' or 'keep'"):
        from_ratings(texts(0, 0), [1.0, 2.0], ties="split")  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="least_gap must be >= 0"):
        trl_rows([], least_gap=-1.0)
    with pytest.raises(DataError, match="record 0 has neither 'ratings' nor 'ranking'; found: responses"):
        trl_rows([{"responses": ["a"]}])
    with pytest.raises(DataError, match="record 0: ranking must list different numbers of the 2 responses"):
        trl_rows([{"responses": ["a", "b"], "ranking": [0, 2]}])
    with pytest.raises(DataError, match="record 0: ratings must have shape"):
        trl_rows([{"responses": ["a", "b"], "ratings": [1]}])
    with pytest.raises(DataError, match="together needs pairs over one features object"):
        together({"a": from_ratings(texts(0, 0), [1.0, 2.0])[""], "b": from_ratings(texts(0, 0), [1.0, 2.0])[""]})
