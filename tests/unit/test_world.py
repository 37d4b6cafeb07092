import numpy as np
import pytest

from embrm.errors import DataError, OptionError
from embrm.world import World, prefer


@pytest.fixture(scope="module")
def world() -> World:
    return World.load()


def test_every_text_is_read_back_to_its_counts(world: World) -> None:
    # Injectivity: whatever the counts (uniform over all values here), the text determines them, and so the gold.
    rng = np.random.default_rng(0)
    uniform = [np.full(len(p), 1 / len(p)) for p in world.reference]
    counts = np.concatenate([world.draw(300, rng=rng, probabilities=uniform), np.zeros((1, 8), dtype=int)])
    counts = np.concatenate([counts, np.eye(8, dtype=int)])
    written = world.respond(rng.integers(len(world.topics), size=len(counts)), counts, rng=rng)
    assert all(written.texts)
    np.testing.assert_array_equal([world.read(text) for text in written.texts], counts)


def test_foreign_text_is_refused(world: World) -> None:
    with pytest.raises(DataError, match="expected a fragment of the world at 'Hello there"):
        world.read("Hello there.")


def test_gold_is_the_sum_of_its_tables(world: World) -> None:
    # A second path to the same numbers: one table of values per attribute against the vectorised effects.
    counts = world.sample(200, seed=3).counts
    for bias in (0.0, 1.0):
        tables = world.tables(bias=bias)
        expected = [sum(t[c] for t, c in zip(tables, row, strict=True)) for row in counts]
        np.testing.assert_allclose(world.utility(counts, bias=bias), expected, atol=1e-12)
    np.testing.assert_allclose(world.gold(counts), world.utility(counts, bias=0), atol=0)


def test_gold_by_hand(world: World) -> None:
    row = dict.fromkeys(world.attributes, 0) | {"correct": 3, "wrong": 1, "flattery": 3}
    gold = world.spec.gold
    by_hand = 3 * gold["correct"].first + gold["wrong"].first + gold["flattery"].first + 2 * gold["flattery"].beyond
    assert gold["correct"].first == gold["correct"].beyond
    np.testing.assert_allclose(world.gold([list(row.values())]), [by_hand])


def test_styles_help_at_most_once_and_hurt_beyond(world: World) -> None:
    for name in world.spec.styles:
        assert world.spec.gold[name].beyond < 0 or name == "refusal"


def test_sampling_is_reproducible_and_follows_the_reference(world: World) -> None:
    a, b, c = world.sample(3000, seed=1), world.sample(3000, seed=1), world.sample(3000, seed=2)
    assert (a.prompts, a.texts) == (b.prompts, b.texts)
    assert a.texts != c.texts
    for i, chances in enumerate(world.reference):
        share = np.bincount(a.counts[:, i], minlength=len(chances)) / 3000
        np.testing.assert_allclose(share, chances, atol=4 * np.sqrt(0.25 / 3000))
    state = np.random.get_state(legacy=False)["state"]["key"].copy()  # noqa: NPY002
    world.sample(10, seed=0)
    np.testing.assert_array_equal(np.random.get_state(legacy=False)["state"]["key"], state)  # noqa: NPY002


def test_sample_keeps_to_the_given_topics(world: World) -> None:
    drawn = world.sample(50, seed=0, topics=[3, 7])
    assert set(drawn.topic) == {3, 7}
    assert set(drawn.prompts) <= {q for t in (3, 7) for q in world.spec.topics[t].questions}
    assert world.only([3, 7]).topics == (world.topics[3], world.topics[7])


def test_statements_belong_to_the_topic(world: World) -> None:
    counts = np.array([[4, 3, 0, 0, 0, 0, 0, 0]])
    (text,) = world.respond([5], counts, rng=np.random.default_rng(0)).texts
    topic = world.spec.topics[5]
    assert sum(s in text for s in topic.correct) == 4
    assert sum(s in text for s in topic.wrong) == 3


@pytest.mark.parametrize(
    ("counts", "error", "match"),
    [
        ([[0, 0]], DataError, r"counts must be \(n, 8\) for correct, wrong.*got shape \(1, 2\)"),
        ([[9, 0, 0, 0, 0, 0, 0, 0]], OptionError, r"integers from 0 to \[4, 3, .*clip or redraw"),
        ([[0.5, 0, 0, 0, 0, 0, 0, 0]], OptionError, "integers from 0"),
    ],
)
def test_counts_out_of_bounds(world: World, counts: list[list[float]], error: type[Exception], match: str) -> None:
    with pytest.raises(error, match=match):
        world.gold(counts)


def test_bradley_terry_noise_has_its_probabilities() -> None:
    n = 20_000
    for gap in (-1.0, 0.0, 0.5, 2.0):
        share = prefer(np.full(n, gap), np.zeros(n), seed=0, temperature=0.5).mean()
        np.testing.assert_allclose(share, 1 / (1 + np.exp(-gap / 0.5)), atol=4 * np.sqrt(0.25 / n))


def test_flips_turn_their_share_round() -> None:
    n = 20_000
    u = np.random.default_rng(0).normal(size=(2, n))
    clean = prefer(*u, seed=1)
    np.testing.assert_array_equal(clean, u[0] > u[1])
    np.testing.assert_allclose((prefer(*u, seed=1, flips=0.25) != clean).mean(), 0.25, atol=0.013)
    np.testing.assert_allclose(prefer(u[0], u[0], seed=1).mean(), 0.5, atol=0.015)


def test_prefer_refuses_impossible_noise() -> None:
    with pytest.raises(OptionError, match=r"flips must be inside \[0, 0\.5\], got 0\.7"):
        prefer([1.0], [0.0], seed=0, flips=0.7)
    with pytest.raises(OptionError, match=r"temperature must be >= 0, got -1"):
        prefer([1.0], [0.0], seed=0, temperature=-1)
