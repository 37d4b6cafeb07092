"""Heads compared by cross-validation: the numbers are those of folds fitted and scored by hand."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embrm import Features, Pairs, Problem, read_pairs, tune
from embrm.embedders import get as get_embedder
from embrm.errors import ConvergenceError, DataError, OptionError
from embrm.evaluation.compare import HeadComparison, compare_heads
from embrm.heads import FittedHead, Head
from embrm.heads.ensemble import Ensemble
from embrm.heads.linear import Linear
from embrm.heads.mlp import Mlp
from embrm.metrics.intervals import bootstrap
from embrm.metrics.significance import bootstrap_p, holm_adjusted
from tests.planted import planted

ROOT = Path(__file__).resolve().parents[2]
PACK = ROOT.parent / "shared" / "packs" / "pandalm"


def sigmoid(x: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-x)))


def by_hand(head: Head, pairs: Pairs, *, folds: int, budget: int, seed: int) -> dict[str, np.ndarray]:
    """Fit and score each fold, a pair at a time: hit, p and NLL of every pair."""
    prompts = np.unique(pairs.prompt)
    parts = np.array_split(prompts[np.random.default_rng(seed).permutation(len(prompts))], folds)
    out = {name: np.full(len(pairs), np.nan) for name in ("hit", "p", "nll")}
    for part in parts:
        held = np.isin(pairs.prompt, part)
        tuned = tune(head, pairs.take(~held), budget=budget, seed=seed, fixed=("hidden",))  # as given
        model = tuned.best.fit(pairs.take(~held), seed=seed)
        for i in np.flatnonzero(held):
            two = pairs.features.take([pairs.chosen[i], pairs.rejected[i]])
            draws = model.score(two).draws
            gap = draws.mean(axis=0)[0] - draws.mean(axis=0)[1]
            won = sigmoid(draws[:, 0] - draws[:, 1]).mean()
            out["hit"][i], out["p"][i] = 0.5 if gap == 0 else float(gap > 0), won
            tied = pairs.tie is not None and pairs.tie[i]
            out["nll"][i] = -(math.log(won) + math.log(1 - won)) / 2 if tied else -math.log(won)
    return out


def weight_of(pairs: Pairs) -> np.ndarray:
    return np.ones(len(pairs)) if pairs.weight is None else pairs.weight


def ece(p: np.ndarray, weight: np.ndarray) -> float:
    bins: list[list[float]] = [[] for _ in range(10)]
    for value, counts in zip(p, weight, strict=True):
        sure = max(value, 1 - value)
        bins[min(int((sure - 0.5) * 20), 9)].append(counts * (float(value > 0.5) - sure))
    return float(sum(abs(sum(gaps)) for gaps in bins) / weight.sum())


def shipped() -> Pairs:
    return read_pairs(ROOT / "data" / "answers" / "prefs.jsonl", embedder=get_embedder("hashing")())


HEADS: dict[str, Head] = {"linear": Linear(members=2), "mlp": Mlp(epochs=3, hidden=(8,))}


@pytest.fixture(scope="module")
def pairs() -> Pairs:
    return shipped()


@pytest.fixture(scope="module")
def found(pairs: Pairs) -> HeadComparison:
    return compare_heads(HEADS, pairs, folds=3, budget=2, seed=4)


@pytest.mark.parametrize("name", list(HEADS))
def test_the_numbers_are_those_of_folds_by_hand(name: str, found: HeadComparison, pairs: Pairs) -> None:
    expected = by_hand(HEADS[name], pairs, folds=3, budget=2, seed=4)
    line = found.lines[name]
    np.testing.assert_array_equal(line.hit[0], expected["hit"])
    np.testing.assert_allclose(line.seen[0].p, expected["p"], rtol=1e-4)
    assert float(line.accuracy.estimate) == pytest.approx(expected["hit"].mean())
    assert float(line.nll.estimate) == pytest.approx(expected["nll"].mean(), rel=1e-4)
    assert float(line.ece.estimate) == pytest.approx(ece(expected["p"], weight_of(pairs)), abs=1e-4)
    assert (found.pairs, found.prompts, len(line.recipes)) == (320, 32, 3)
    assert line.seconds > 0


def test_the_longest_response_and_chance_are_lines_too(found: HeadComparison, pairs: Pairs) -> None:
    length = pairs.features.length
    assert length is not None
    gap = length[pairs.chosen] - length[pairs.rejected]
    assert float(found.lines["length"].accuracy.estimate) == pytest.approx((0.5 + 0.5 * np.sign(gap)).mean())
    assert 0.6 < float(found.lines["length"].nll.estimate) < math.log(2)  # its temperature is fitted
    chance = found.lines["random"]
    numbers = [float(x.estimate) for x in (chance.accuracy, chance.nll, chance.ece)]
    assert numbers == pytest.approx([0.5, math.log(2), 0.0])
    assert math.isnan(chance.seconds)
    assert chance.ahead == {}


def test_differences_are_paired_over_prompts(found: HeadComparison, pairs: Pairs) -> None:
    assert found.baseline == "linear"
    assert found.lines["linear"].ahead == {}
    for name, key in (("accuracy", "hit"), ("nll", "loss")):
        own, first = found.lines["mlp"], found.lines["linear"]
        of = [line.hit[0] if key == "hit" else line.seen[0].loss for line in (own, first)]
        prompt = np.unique(pairs.prompt, return_inverse=True)[1]
        counts = np.bincount(prompt)
        gaps = np.bincount(prompt, of[0] - of[1])
        # a ratio of sums over the prompts drawn, here from the same draws
        expected = bootstrap(np.stack([gaps, counts], axis=1), seed=4, statistic=lambda m: m[0] / m[1])
        ahead = own.ahead[name]
        assert float(ahead.value.estimate) == pytest.approx(float(expected.estimate))
        assert (float(ahead.value.low), float(ahead.value.high)) == pytest.approx(
            (float(expected.low), float(expected.high))
        )
        assert ahead.holm == ahead.p  # of one head compared


def test_holm_multiplies_by_what_is_left() -> None:
    assert holm_adjusted([0.01, 0.04, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.06, 0.06, 0.02])  # R's p.adjust
    assert holm_adjusted([0.5, 0.9]).tolist() == [1.0, 1.0]
    assert holm_adjusted([]).tolist() == []
    assert bootstrap_p([True] * 5 + [False] * 94) == pytest.approx(12 / 100)
    assert bootstrap_p([True] * 9) == 1.0


def test_a_head_that_knows_is_ahead_with_a_small_p_and_holm_counts_the_heads() -> None:
    made = planted(pairs=300, width=4)[0]
    useless = Linear(prior_precision=1e12)  # a constant, but for rounding
    found = compare_heads({"none": useless, "a": Linear(prior_precision=1.0), "b": Linear()}, made, folds=4, seed=0)
    assert found.ranked[-2:] != ["a", "b"]
    for name in ("a", "b"):
        ahead = found.lines[name].ahead["accuracy"]
        assert float(ahead.value.low) > 0
        assert ahead.holm >= ahead.p
    p = [found.lines[name].ahead["nll"].p for name in ("a", "b")]
    assert [found.lines[name].ahead["nll"].holm for name in ("a", "b")] == pytest.approx(holm_adjusted(p).tolist())
    assert found.lines["a"].recipes == (Linear(prior_precision=1.0),) * 4  # what is set is not tuned


def test_what_is_set_inside_a_wrapped_head_is_not_tuned() -> None:
    made = planted(pairs=60, width=3)[0]
    head = Ensemble(members=2, base=Mlp(epochs=1, hidden=(4,), weight_decay=0.5))
    found = compare_heads({"ensemble": head}, made, folds=2, budget=3, seed=0)
    bases = [recipe.base for recipe in found.lines["ensemble"].recipes if isinstance(recipe, Ensemble)]
    assert [base.weight_decay for base in bases if isinstance(base, Mlp)] == [0.5, 0.5]


def test_seeds_repeat_the_folds_and_are_averaged(pairs: Pairs) -> None:
    both = compare_heads({"linear": Linear()}, pairs, folds=2, seeds=2, budget=1, seed=0)
    each = [compare_heads({"linear": Linear()}, pairs, folds=2, budget=1, seed=s) for s in (0, 1)]
    assert (both.fold[0] != both.fold[1]).any()
    for i, one in enumerate(each):
        np.testing.assert_array_equal(both.fold[i], one.fold[0])
        np.testing.assert_array_equal(both.lines["linear"].hit[i], one.lines["linear"].hit[0])
    means = [float(one.lines["linear"].nll.estimate) for one in each]
    assert float(both.lines["linear"].nll.estimate) == pytest.approx(np.mean(means))


def test_prompts_are_held_out_whole(found: HeadComparison, pairs: Pairs) -> None:
    for prompt in np.unique(pairs.prompt):
        assert len(set(found.fold[0][pairs.prompt == prompt])) == 1
    assert np.bincount(found.fold[0]).min() > 0


def test_lines_are_ranked_and_json_ready(found: HeadComparison) -> None:
    values = json.loads(json.dumps(found.as_dict(), allow_nan=False))
    assert [line["head"] for line in values["lines"]] == found.ranked
    accuracy = [line["accuracy"]["estimate"] for line in values["lines"]]
    assert accuracy == sorted(accuracy, reverse=True)
    assert (values["baseline"], values["folds"], values["failures"]) == ("linear", 3, {})


@dataclass(frozen=True, kw_only=True)
class Diverging(Linear):
    def fit_many(self, problems: Sequence[Problem]) -> list[FittedHead]:
        raise ConvergenceError("it was told to")


def test_a_head_that_cannot_be_fitted_is_named_and_the_others_stay(pairs: Pairs) -> None:
    steps: list[tuple[int, int, str]] = []
    found = compare_heads(
        {"linear": Linear(), "bad": Diverging()},
        pairs,
        folds=2,
        budget=1,
        seed=0,
        progress=lambda done, total, text: steps.append((done, total, text)),
    )
    assert list(found.lines) == ["linear", "length", "random"]
    assert "it was told to" in found.failures["bad"]
    assert steps == [(1, 4, "linear"), (2, 4, "linear")]
    with pytest.raises(ConvergenceError, match="'bad', which others are compared with, cannot be fitted"):
        compare_heads({"bad": Diverging(), "linear": Linear()}, pairs, folds=2, budget=1, seed=0)


def few(prompts: int, *, each: int = 4, tie: np.ndarray | None = None) -> Pairs:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2 * prompts * each, 3))
    rows = np.arange(0, len(x), 2)
    features = Features({"joint": x}, prompt=np.repeat(np.arange(prompts), 2 * each))
    return Pairs(features, rows, rows + 1, tie=tie)


def test_a_fold_of_ties_alone_is_judged_by_likelihood() -> None:
    tie = np.repeat([True, False, False, False, False, False], 4)
    found = compare_heads({"linear": Linear()}, few(6, tie=tie), folds=6, budget=1, seed=0)
    line = found.lines["linear"]
    assert float(line.accuracy.estimate) == pytest.approx(line.hit[0][~tie].mean())
    assert float(line.nll.estimate) == pytest.approx(line.seen[0].loss.mean())
    assert "length" not in found.lines  # vectors without texts


@pytest.mark.parametrize(
    ("prompts", "options", "error", "message"),
    [
        (1, {}, DataError, "all 4 pairs belong to one prompt, so none can be held out"),
        (4, {"folds": 5}, OptionError, "folds must be at most the number of prompts, 4, got 5"),
        (3, {"folds": 2}, DataError, "3 prompts in 2 folds leave a single one to train and tune on"),
        (9, {"folds": 1}, OptionError, "folds must be >= 2 and seeds >= 1, got 1 and 1"),
        (9, {"seeds": 0}, OptionError, "folds must be >= 2 and seeds >= 1, got 5 and 0"),
        (9, {"budget": 0}, OptionError, "budget and splits must be >= 1, got 0"),
    ],
)
def test_what_cannot_be_compared_is_refused(
    prompts: int, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        compare_heads({"linear": Linear()}, few(prompts), seed=0, **options)


def test_heads_need_titles_of_their_own() -> None:
    with pytest.raises(OptionError, match="there is no head to compare"):
        compare_heads({}, few(9), seed=0)
    with pytest.raises(OptionError, match="the title 'random' is that of a control"):
        compare_heads({"random": Linear()}, few(9), seed=0)
    with pytest.raises(DataError, match="all pairs are ties"):
        compare_heads({"linear": Linear()}, few(9, tie=np.ones(36, dtype=bool)), seed=0)


@pytest.mark.skipif(not PACK.exists(), reason="needs ../shared/packs/pandalm, which is not part of the project")
def test_the_numbers_on_human_labels_are_those_by_hand() -> None:
    pairs = read_pairs(PACK / "pairs.jsonl.gz", embedder=get_embedder("hashing")())
    head = Linear(prior_precision=100.0)
    found = compare_heads({"linear": head}, pairs, folds=3, budget=1, seed=0)
    expected = by_hand(head, pairs, folds=3, budget=1, seed=0)
    assert pairs.tie is not None
    decided = ~pairs.tie
    assert (found.pairs, found.prompts, int(pairs.tie.sum())) == (
        540,
        85,
        49,
    )  # a pair for each verdict of three annotators
    line = found.lines["linear"]
    weight = weight_of(pairs)
    counts = weight[decided]
    assert float(line.accuracy.estimate) == pytest.approx(np.average(expected["hit"][decided], weights=counts))
    assert float(line.nll.estimate) == pytest.approx(np.average(expected["nll"], weights=weight), rel=1e-4)
    assert float(line.ece.estimate) == pytest.approx(ece(expected["p"][decided], counts), abs=1e-4)
    length = pairs.features.length
    assert length is not None
    longer = (length[pairs.chosen] - length[pairs.rejected])[decided]
    longest = float(found.lines["length"].accuracy.estimate)
    assert longest == pytest.approx(np.average(0.5 + 0.5 * np.sign(longer), weights=counts))
