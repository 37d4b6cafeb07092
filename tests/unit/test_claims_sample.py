"""The bootstrap over clusters and seeds: by hand, and its coverage where wordings of one topic are alike."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from embrm.core.arrays import Array, IntArray
from embrm.errors import DataError, OptionError
from embrm.study.claims.sample import Sample, resample
from embrm.study.claims.verdict import conclude, difference


def mean(x: Array, *, cluster: IntArray | None = None, draws: int = 2000) -> Sample:
    return resample([x], lambda means: means[0], draws=draws, clusters=[cluster])


def test_every_resample_takes_whole_clusters() -> None:
    values = np.array([1.0, 3.0, 10.0, 20.0, 30.0])[:, None]
    cluster = np.array([7, 7, 2, 2, 2])
    seen = []

    def keep(means: list[Array]) -> Array:
        seen.append(means[0])
        return means[0]

    resample([values], keep, draws=500, clusters=[cluster])
    expected = {(a * 4 + b * 60) / (a * 2 + b * 3) for a, b in ((2, 0), (1, 1), (0, 2))}
    assert {round(float(m), 9) for m in seen[0]} == {round(m, 9) for m in expected}


def test_equal_wordings_are_no_more_data() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(30, 1))
    alone = mean(x)
    thrice = mean(np.repeat(x, 3, axis=0), cluster=np.repeat(np.arange(30), 3))
    assert (alone.n, thrice.n, thrice.clusters) == (30, 90, 30)
    np.testing.assert_allclose(thrice.interval, alone.interval)
    blind = mean(np.repeat(x, 3, axis=0))
    assert np.diff(blind.interval)[0] < 0.65 * np.diff(alone.interval)[0]


def test_seeds_that_differ_by_roundings_alone_have_the_freedom_of_the_topics() -> None:
    for number in range(30):
        x = np.repeat(np.random.default_rng(number).normal(size=(6, 1)), 12, axis=1)
        assert resample([x], lambda means: means[0], draws=100).freedom == pytest.approx(5, rel=1e-3)


def test_clusters_must_be_those_of_the_prompts() -> None:
    with pytest.raises(DataError, match="every prompt needs its cluster, got 2 for 3 prompts"):
        mean(np.ones((3, 2)), cluster=np.array([0, 1]))
    with pytest.raises(DataError, match="at least 2 clusters of prompts and finite values, got 1"):
        mean(np.ones((3, 2)), cluster=np.zeros(3, dtype=int))


def covered(topics: int, seeds: int, sd: tuple[float, float, float], *, trials: int) -> float:
    """Return how often the interval holds the truth: sd of topics, of seeds, and of single cells of two wordings."""
    rng = np.random.default_rng([topics, seeds])
    cluster = np.repeat(np.arange(topics), 2)
    hits = 0
    for _ in range(trials):
        of_topic = sd[0] * np.repeat(rng.normal(size=(topics, 1)), 2, axis=0)
        x = of_topic + sd[1] * rng.normal(size=(1, seeds)) + sd[2] * rng.normal(size=(2 * topics, seeds))
        low, high = mean(x, cluster=cluster, draws=400).interval
        hits += low <= 0 <= high
    return hits / trials


@pytest.mark.slow
@pytest.mark.parametrize(
    ("topics", "seeds", "sd"),
    list(product([10, 30, 100], [5, 20, 40], [(1.0, 0.3, 1.0), (0.3, 1.0, 1.0)])),
)
def test_intervals_cover_the_truth(topics: int, seeds: int, sd: tuple[float, float, float]) -> None:
    assert 0.925 <= covered(topics, seeds, sd, trials=1000) <= 0.98  # 95 %, within the chance of a thousand trials


@pytest.mark.slow
@pytest.mark.parametrize(("topics", "seeds"), [(2, 2), (2, 10), (4, 2), (4, 40), (100, 2)])
def test_few_topics_or_seeds_make_intervals_wide_and_never_short(topics: int, seeds: int) -> None:
    assert covered(topics, seeds, (1.0, 0.5, 1.0), trials=1000) >= 0.925


def drawn(effect: float, *, sd: float, seed: int) -> Sample:
    rng = np.random.default_rng(seed)
    return mean(effect + sd * rng.normal(size=(40, 5)) + sd * rng.normal(size=(40, 1)), draws=400)


def verdicts(effect: float, *, smallest: float | None, sd: float = 1.0, trials: int = 400) -> dict[str, int]:
    found = [conclude([difference("x", drawn(effect, sd=sd, seed=i), smallest=smallest)])[0] for i in range(trials)]
    return {name: found.count(name) for name in ("supported", "contradicted", "negligible", "inconclusive")}


def test_no_effect_is_hardly_ever_a_finding_and_shown_to_be_negligible_where_data_suffice() -> None:
    counts = verdicts(0.0, smallest=1.0, trials=100)
    assert counts["supported"] + counts["contradicted"] <= 9  # at 5 %, more are seen once in fifty
    assert counts["negligible"] >= 85


@pytest.mark.slow
def test_of_400_trials_of_no_effect_at_most_5_percent_find_one() -> None:
    counts = verdicts(0.0, smallest=0.3)
    assert counts["supported"] + counts["contradicted"] <= 28  # 20 expected at 5 %, plus 1.8 standard errors


@pytest.mark.slow
def test_an_effect_just_outside_the_margin_is_hardly_ever_negligible() -> None:
    assert verdicts(0.31, smallest=0.3)["negligible"] <= 28


@pytest.mark.slow
def test_an_effect_of_twice_the_detectable_size_is_found() -> None:
    size = float(np.mean([drawn(0.0, sd=1.0, seed=i).detectable for i in range(20)]))
    assert verdicts(2 * size, smallest=None)["supported"] >= 380


def test_needed_data_decide() -> None:
    part = difference("x", drawn(0.15, sd=1.0, seed=3), smallest=None)
    assert part.verdict == "inconclusive"
    assert part.needed is not None
    error, freedom = part.sample.error, part.sample.freedom
    # With so many times the data the estimate is at the quantile of Student's law, whose freedom has grown as well.
    assert abs(part.sample.estimate) / error * np.sqrt(part.needed) == pytest.approx(
        stats.t.isf(0.025, freedom * part.needed)
    )
    flat = difference("x", drawn(0.0, sd=1.0, seed=3), smallest=0.3)
    room = (0.3 - abs(flat.sample.estimate)) / flat.sample.error
    assert flat.verdict == "inconclusive"
    assert flat.needed is not None
    assert flat.needed <= (stats.t.isf(0.05, flat.sample.freedom) / room) ** 2


def test_margins_are_above_zero() -> None:
    with pytest.raises(OptionError, match="smallest effect of interest must be > 0, got 0"):
        difference("x", drawn(0.0, sd=1.0, seed=0), smallest=0.0)
