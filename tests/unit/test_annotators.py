"""Several annotators: their pairs, a reward for each, and how well changes in favour of one are covered."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embrm import Features, Pairs, heads, load_model, read_pairs, selectors
from embrm.core.results import Reward
from embrm.data.convert import from_rankings, together
from embrm.data.stream import stream_pairs
from embrm.errors import DataError, OptionError
from embrm.evaluation.annotators import annotator_accuracy, coverage
from tests.cli.conftest import write_lines
from tests.planted import planted


def opposed(rows: int = 300, few: int | None = None) -> Pairs:
    """Return pairs of which "up" judges the first `rows` as planted, and "down" others the other way."""
    pairs, _ = planted(pairs=2 * rows)
    down = np.arange(len(pairs)) >= rows
    names = np.where(down, "down", "up")
    turned = replace(
        pairs,
        chosen=np.where(down, pairs.rejected, pairs.chosen),
        rejected=np.where(down, pairs.chosen, pairs.rejected),
        annotator=names,
    )
    return turned if few is None else turned.take(np.arange(rows + few))


def test_each_annotator_has_the_reward_that_its_own_pairs_teach() -> None:
    pairs = opposed()
    model = heads.get("annotators")(base=heads.get("linear")(prior_precision=10.0)).fit(pairs, seed=0)
    assert model.annotators == ("down", "up")  # type: ignore[attr-defined]
    reward = model.score(pairs.features)
    assert reward.annotator == ("down", "up")
    for name, draw in zip(reward.annotator, reward.draws, strict=True):
        alone = heads.get("linear")(prior_precision=10.0).fit(pairs.take(pairs.annotator == name), seed=0)
        np.testing.assert_allclose(draw, alone.score(pairs.features).draws[0], rtol=1e-5)
    assert np.corrcoef(reward.draws[0], reward.draws[1])[0, 1] < -0.8
    told = annotator_accuracy(reward, pairs)
    assert [each.pairs for each in told] == [300, 300]
    assert min(each.own for each in told) > 0.75
    wins = [reward.draws[k][own.chosen] > reward.draws[k][own.rejected] for k, own in enumerate(by_name(pairs))]
    np.testing.assert_allclose([each.own for each in told], [win.mean() for win in wins])


def by_name(pairs: Pairs) -> list[Pairs]:
    assert pairs.annotator is not None
    return [pairs.take(pairs.annotator == name) for name in ("down", "up")]


def test_pairs_without_annotators_are_one_annotator_s() -> None:
    pairs, _ = planted(pairs=200)
    model = heads.get("annotators")(base=heads.get("linear")()).fit(pairs, seed=0)
    alone = heads.get("linear")().fit(pairs, seed=0)
    np.testing.assert_allclose(model.score(pairs.features).draws, alone.score(pairs.features).draws)


def test_draws_stay_with_their_annotators_when_the_model_is_saved(tmp_path: Path) -> None:
    pairs = opposed(60)
    model = heads.get("annotators")(base=heads.get("laplace")(draws=4)).fit(pairs, seed=0)
    model.save(tmp_path / "m")
    first, again = model.score(pairs.features), load_model(tmp_path / "m").score(pairs.features)
    assert again.annotator == first.annotator == ("down",) * 4 + ("up",) * 4
    assert again.kind == "posterior"
    np.testing.assert_allclose(again.draws, first.draws, rtol=1e-5)


def test_rare_annotators_are_refused_or_joined() -> None:
    pairs = opposed(60)
    assert pairs.annotator is not None
    names = pairs.annotator.astype("<U9")
    names[[0, 60]] = "one", "other"
    pairs = replace(pairs, annotator=names)
    recipe = heads.get("annotators")(base=heads.get("linear")(prior_precision=1.0))
    with pytest.raises(
        DataError, match=r"2 annotators judged fewer than 2 pairs.*'one' \(1\), 'other' \(1\).*rare=join"
    ):
        recipe.fit(pairs, seed=0)
    joining = heads.get("annotators")(base=heads.get("linear")(prior_precision=1.0), rare="join")
    joined = joining.fit(pairs, seed=0)
    assert joined.record["annotators"][-1] == {"name": "others", "pairs": 2}
    with pytest.raises(DataError, match="1 annotators judged fewer"):  # one is not enough to be joined
        joining.fit(pairs.take(np.arange(1, 120)), seed=0)


def test_bad_annotators_are_named() -> None:
    pairs = opposed(20)
    assert pairs.annotator is not None
    names = pairs.annotator.copy()
    names[[3, 8]] = ""
    with pytest.raises(DataError, match="2 of 40 pairs have no annotator, first pair 3"):
        heads.get("annotators")().fit(replace(pairs, annotator=names), seed=0)
    with pytest.raises(DataError, match=r"annotator must have shape \(40,\), got \(2,\)"):
        replace(pairs, annotator=np.array(["a", "b"]))
    with pytest.raises(DataError, match="annotator must be texts or whole numbers, but entry 1 is None"):
        replace(pairs, annotator=np.array(["a", None] * 20, dtype=object))
    with pytest.raises(DataError, match="the pairs name no annotators"):
        annotator_accuracy(Reward(np.zeros((1, 320)), "point"), replace(pairs, annotator=None))
    with pytest.raises(DataError, match="no reward of the annotator 'down'; it has those of ann"):
        annotator_accuracy(Reward(np.zeros((1, 320)), "point", annotator=("ann",)), pairs)
    with pytest.raises(OptionError, match="fewest must be >= 2"):
        heads.get("annotators")(fewest=1)
    with pytest.raises(OptionError, match="rare must be one of refuse, join, got 'drop'"):
        heads.get("annotators")(rare="drop")


def test_annotators_are_read_from_files_whole_and_in_blocks(tmp_path: Path) -> None:
    def rows(*names: Any) -> list[dict[str, Any]]:
        return [
            {"prompt": f"p{i}", "chosen": f"yes {i}", "rejected": f"no {i}", "annotator": n}
            for i, n in enumerate(names)
        ]

    write_lines(tmp_path / "a.jsonl", rows("ann", 7, None, 2.0))
    found = read_pairs(tmp_path / "a.jsonl", embedder="hashing")
    assert found.annotator is not None
    assert found.annotator.tolist() == ["ann", "7", "", "2"]
    streamed, _ = stream_pairs(tmp_path / "a.jsonl", embedder="hashing", size=3)
    assert streamed.annotator is not None
    assert streamed.annotator.tolist() == found.annotator.tolist()
    assert found.take([1, 3]).compact().annotator.tolist() == ["7", "2"]  # type: ignore[union-attr]
    write_lines(tmp_path / "n.jsonl", rows(None, None))
    assert read_pairs(tmp_path / "n.jsonl", embedder="hashing").annotator is None
    write_lines(tmp_path / "b.jsonl", rows("ann", {"id": 1}))
    with pytest.raises(DataError, match=r"line 2: annotator must be a name or a whole number.*--columns annotator="):
        read_pairs(tmp_path / "b.jsonl", embedder="hashing")
    votes = [{"question": "How?", "response1": "So.", "response2": "No.", "annotator1": 1, "annotator2": 2}]
    write_lines(tmp_path / "v.jsonl", votes)
    assert read_pairs(tmp_path / "v.jsonl", embedder="hashing").annotator.tolist() == ["annotator1", "annotator2"]  # type: ignore[union-attr]


def test_rankings_of_several_keep_their_annotators_together() -> None:
    texts = Features({"joint": np.eye(3)}, prompt=np.zeros(3, dtype=int))
    labels = from_rankings(texts, [[0, 1, 2], [2, 1]], annotator=["ann", "bob"])
    assert together(labels).annotator.tolist() == ["ann", "ann", "ann", "bob"]  # type: ignore[union-attr]


def test_coverage_is_what_unilateral_changes_come_to_in_each_draw() -> None:
    rng = np.random.default_rng(2)
    spread = np.array([0.1, 0.1, 0.1, 0.1, 3.0, 3.0, 3.0, 3.0])[:, None]  # bob is hardly known
    draws = np.repeat(rng.normal(size=(2, 30)), 4, axis=0) + spread * rng.normal(size=(8, 30))
    reward = Reward(draws, "posterior", annotator=("ann",) * 4 + ("bob",) * 4)
    offsets = [0, 10, 20, 30]
    rule = selectors.get("utilitarian")()
    told = coverage(reward, rule, offsets=offsets, seed=0)
    chosen = rule(reward, offsets=offsets).index
    ann, bob = draws[:4], draws[4:]
    preferred = [a + int(ann.mean(axis=0)[a : a + 10].argmax()) for a in (0, 10, 20)]
    moved = [(p, c) for p, c in zip(preferred, chosen.tolist(), strict=True) if p != c]
    assert told.moved[0] == len(moved) / 3 > 0
    centred = np.concatenate([bob.mean(axis=0)[a : a + 10] - bob.mean(axis=0)[a : a + 10].mean() for a in (0, 10, 20)])
    gaps = np.array([bob[:, p] - bob[:, c] for p, c in moved]) / np.sqrt(np.mean(centred**2))
    np.testing.assert_allclose(told.gain[0, 1], gaps.mean())
    np.testing.assert_allclose(told.uncertainty[0, 1], gaps.std(axis=1).mean())
    np.testing.assert_allclose(told.unsure[0, 1], np.mean(np.abs(gaps.mean(axis=1)) <= 2 * gaps.std(axis=1)))
    assert told.uncertainty[0, 1] > 3 * told.uncertainty[0, 0]
    with pytest.raises(DataError, match="coverage is told from the draws of each annotator's reward, and ann, bob has"):
        coverage(Reward(draws[[0, 4]], "members", annotator=("ann", "bob")), rule, offsets=offsets, seed=0)
