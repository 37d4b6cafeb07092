"""Ways to be hacked: which texts are collected under each, against enumeration and by hand."""

import itertools

import numpy as np
import pytest

from embrm.errors import DataError, OptionError, UnknownNameError
from embrm.world import Mechanism, World
from embrm.world.collect import Stock, collect, stock_of
from embrm.world.sampling import pair_rows


@pytest.fixture(scope="module")
def world() -> World:
    return World.load()


def some_texts(world: World, n: int, mechanism: Mechanism, *, prompts: int = 20, seed: int = 0) -> Stock:
    counts = world.draw(n, rng=np.random.default_rng(seed))
    prompt = np.arange(n) % prompts
    return stock_of(world, counts, prompt=prompt, topic=prompt // 2, mechanism=mechanism)


def enumerated(world: World, names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """All counts of some attributes, the others 0, and their probabilities under π_ref."""
    at = [world.attributes.index(name) for name in names]
    rows = list(itertools.product(*(range(len(world.reference[i])) for i in at)))
    counts = np.zeros((len(rows), len(world.attributes)), dtype=np.int64)
    counts[:, at] = rows
    return counts, np.array([np.prod([world.reference[i][c] for i, c in zip(at, row, strict=True)]) for row in rows])


@pytest.mark.parametrize("c", [0.0, 1.0, 2.0])
def test_the_correlation_that_confounding_makes_is_that_of_the_whole_space(world: World, c: float) -> None:
    quality_counts, p = enumerated(world, ["correct", "wrong", "refusal"])
    style_counts, q = enumerated(world, ["flattery", "overconfidence", "padding"])
    x, y = world.quality(quality_counts), world.style(style_counts)
    np.testing.assert_allclose([p @ x, q @ y], 0, atol=1e-9)
    np.testing.assert_allclose([p @ x**2, q @ y**2], 1, atol=1e-9)
    both = np.outer(p, q) * np.exp(c * np.outer(np.tanh(x), np.tanh(y)))
    both /= both.sum()
    mean = both.sum(axis=1) @ x, both.sum(axis=0) @ y
    sd = np.sqrt([both.sum(axis=1) @ (x - mean[0]) ** 2, both.sum(axis=0) @ (y - mean[1]) ** 2])
    expected = ((x - mean[0]) @ both @ (y - mean[1])) / np.prod(sd)

    mechanism = Mechanism(confounding=c)
    found = collect(some_texts(world, 40_000, mechanism), mechanism, pairs=4000, seed=0)
    assert found.correlation == pytest.approx(expected, abs=0.03)
    assert found.seen_share == 1
    assert {0.0: abs(expected) < 1e-9, 1.0: 0.3 < expected < 0.5, 2.0: expected > 0.5}[c]


def test_all_pairs_of_a_prompt_are_drawn_once_each_and_every_text_before_any_serves_twice(world: World) -> None:
    texts = some_texts(world, 4 * 7 + 3 * 6, Mechanism(), prompts=7)  # 4 prompts of 7 texts, 3 of 6
    every = 4 * 21 + 3 * 15
    found = collect(texts, Mechanism(), pairs=every, seed=1)
    assert found.available == every
    assert (texts.prompt[found.rows[:, 0]] == texts.prompt[found.rows[:, 1]]).all()
    assert len({frozenset(pair) for pair in found.rows.tolist()}) == every
    first = found.rows[: 4 * 3 + 3 * 3]
    assert len(np.unique(first)) == first.size
    with pytest.raises(DataError, match=f"asked for {every + 1} pairs, but 46 texts of 7 prompts make only {every} "):
        collect(texts, Mechanism(), pairs=every + 1, seed=1)


def test_coverage_and_unseen_styles_narrow_the_space(world: World) -> None:
    counts = world.draw(2000, rng=np.random.default_rng(0))
    prompt = np.arange(2000) % 20
    narrow = Mechanism(coverage=0.3, unseen=("flattery", "padding"))
    texts = stock_of(world, counts, prompt=prompt, topic=prompt // 2, mechanism=narrow)
    found = collect(texts, narrow, pairs=150, seed=0)
    assert len(np.unique(texts.topic[found.rows])) == 3  # of ten
    used = counts[np.unique(found.rows)]
    for name in ("flattery", "padding"):
        assert used[:, world.attributes.index(name)].max() == 0
    assert used[:, world.attributes.index("overconfidence")].max() > 0
    chance = world.reference[2][0] * world.reference[3][0]  # of neither flattery nor padding
    assert found.seen_share == pytest.approx(0.3 * chance, abs=0.03)
    other = collect(texts, narrow, pairs=150, seed=1)
    assert set(texts.topic[other.rows].ravel()) != set(texts.topic[found.rows].ravel())
    np.testing.assert_array_equal(collect(texts, narrow, pairs=150, seed=0).rows, found.rows)


def test_labels_of_confounded_pairs_follow_the_gold_alone(world: World) -> None:
    rows, found = pair_rows(world, 200, mechanism=Mechanism(confounding=2), flips=0, seed=0)
    assert all(row["gold_chosen"] >= row["gold_rejected"] for row in rows)
    assert found.correlation > 0.5
    counts = np.stack([world.read(row["chosen"]) for row in rows])
    assert np.corrcoef(world.quality(counts), world.style(counts))[0, 1] > 0.3


def test_impossible_mechanisms_are_refused(world: World) -> None:
    for options, message in (
        ({"bias": float("nan")}, "bias must be finite, got nan"),
        ({"confounding": -1.0}, r"confounding must be >= 0 and finite, got -1\.0"),
        ({"coverage": 0.0}, r"coverage must be inside \(0, 1\], got 0\.0"),
        ({"coverage": 1.5}, r"coverage must be inside \(0, 1\], got 1\.5"),
    ):
        with pytest.raises(OptionError, match=message):
            Mechanism(**options)  # type: ignore[arg-type]
    with pytest.raises(UnknownNameError, match=r"no style named 'flatery'\. Did you mean 'flattery'\?"):
        some_texts(world, 40, Mechanism(unseen=("flatery",)))
    texts = some_texts(world, 400, Mechanism())
    with pytest.raises(DataError, match=r"a coverage of 0\.01 leaves none of 10 topics; give at least 0\.1"):
        collect(texts, Mechanism(coverage=0.01), pairs=10, seed=0)
    with pytest.raises(DataError, match=r"asked for 300 pairs, but \d+ texts of \d+ prompts make only \d+ under Mech"):
        collect(texts, Mechanism(confounding=6.0), pairs=300, seed=0)
    all_styles = Mechanism(unseen=tuple(world.spec.styles))
    styled = np.ones((8, len(world.attributes)), dtype=np.int64)
    every = stock_of(world, styled, prompt=np.arange(8) % 2, topic=np.arange(8) % 2, mechanism=all_styles)
    with pytest.raises(DataError, match="no training text is without any use of flattery, padding"):
        collect(every, all_styles, pairs=1, seed=0)
