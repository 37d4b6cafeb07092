"""Saved scores: they give back what was saved, in any order, and bad files are explained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embrm.core.results import Reward
from embrm.data.texts import Texts, read_texts
from embrm.errors import DataError
from embrm.evaluation.scorer import read_numbers, read_scores, score_rows


@pytest.fixture
def texts(tmp_path: Path) -> Texts:
    rows = [{"id": f"q{i}", "prompt": "p", "responses": ["a", "b", "c"][: i + 1]} for i in range(3)]
    return read_texts(write(tmp_path / "pools.jsonl", rows))


def write(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_rows_in_any_order_give_back_the_reward(texts: Texts, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    reward = Reward(rng.normal(size=(4, 6)), "members", sigma=rng.random((4, 6)))
    rows = score_rows(texts, reward, draws=True)
    back = read_scores(write(tmp_path / "s.jsonl", [rows[i] for i in rng.permutation(6)]), texts)
    np.testing.assert_array_equal(back.draws, reward.draws)
    np.testing.assert_array_equal(back.sigma, reward.sigma)
    assert back.kind == "members"
    posterior = score_rows(texts, Reward(reward.draws, "posterior"), draws=True)
    assert read_scores(write(tmp_path / "s.jsonl", posterior), texts).kind == "posterior"
    short = write(tmp_path / "t.jsonl", score_rows(texts, reward, draws=False))
    np.testing.assert_array_equal(read_scores(short, texts).draws, reward.mean[None])
    np.testing.assert_array_equal(read_numbers(short, texts), reward.mean)


@pytest.mark.parametrize(("shape", "kind"), [((6,), "point"), ((1, 6), "point"), ((4, 6), "members")])
def test_arrays_are_draws(shape: tuple[int, ...], kind: str, texts: Texts, tmp_path: Path) -> None:
    draws = np.random.default_rng(0).normal(size=shape)
    np.save(tmp_path / "d.npy", draws)
    reward = read_scores(tmp_path / "d.npy", texts)
    np.testing.assert_array_equal(reward.draws, np.atleast_2d(draws))
    assert reward.kind == kind


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((5,), r"d\.npy must hold draws \(s, n\) .* of the 6 texts of .*pools\.jsonl, got shape \(1, 5\)"),
        ((1, 2, 6), r""),
    ],
)
def test_arrays_of_another_length_are_explained(
    shape: tuple[int, ...], message: str, texts: Texts, tmp_path: Path
) -> None:
    np.save(tmp_path / "d.npy", np.zeros(shape))
    with pytest.raises(DataError, match=message or r"got shape \(1, 2, 6\)"):
        read_scores(tmp_path / "d.npy", texts)


def test_a_file_that_is_no_array_is_explained(texts: Texts, tmp_path: Path) -> None:
    (tmp_path / "d.npy").write_text("no")
    with pytest.raises(DataError, match=r"d\.npy cannot be read as a \.npy file of numbers"):
        read_scores(tmp_path / "d.npy", texts)
    np.save(tmp_path / "d.npy", np.zeros(5))
    with pytest.raises(DataError, match=r"d\.npy must have shape \(6,\), got \(5,\)"):
        read_numbers(tmp_path / "d.npy", texts)


def test_bad_rows_are_explained(texts: Texts, tmp_path: Path) -> None:
    rows = score_rows(texts, Reward(np.arange(12.0).reshape(2, 6), "members"), draws=True)
    cases: list[tuple[list[dict[str, Any]], str]] = [
        (rows[:-1], r"has no score of 1 of the 6 texts of .*, first: response 2 of id 'q2'; score that file again"),
        ([*rows, rows[1]], r"line 7: response 0 of id 'q1' has a score already"),
        (
            [{"index": 0, "score": 1}, *rows[1:]],
            r"line 1 must have 'id' and 'score', as `embrm score` writes, got index",
        ),
        ([*rows[:-1], {**rows[-1], "draws": [1.0]}], r"'draws' must be in every row"),
        ([*rows[:-1], {k: v for k, v in rows[-1].items() if k != "draws"}], r"'draws' must be in every row"),
        ([*rows[:-1], {**rows[-1], "draws": [1.0, None]}], r"must be finite|'draws' must be in every row"),
    ]
    for bad, message in cases:
        with pytest.raises(DataError, match=message):
            read_scores(write(tmp_path / "s.jsonl", bad), texts)
