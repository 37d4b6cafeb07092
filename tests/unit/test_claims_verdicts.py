"""Samples, verdicts, what is read from rows, and what a claim says when something is missing."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from scipy import stats

from embrm.core.arrays import Array
from embrm.errors import DataError, UnknownNameError
from embrm.study import claims
from embrm.study.claims.case import Case, Under
from embrm.study.claims.cells import Cells, GoldCurves, Of
from embrm.study.claims.choice import choose, complete
from embrm.study.claims.fits import DatasetFits, MissingError
from embrm.study.claims.holm import holm
from embrm.study.claims.peaks import cross_fitted, drop
from embrm.study.claims.sample import Sample, resample
from embrm.study.claims.verdict import Finding, conclude, difference, equivalence
from embrm.study.metric import Metric
from embrm.study.results import Cell, Results, Row, validation
from tests import simulated_claims as simulated

X = Metric("bon", "x")
HEAVY, CLEAN, FAIR = simulated.HEAVY, simulated.CLEAN, simulated.FAIR


def first(means: list[Array]) -> Array:
    return means[0]


def sample(mean: float, sd: float = 1.0, b: int = 4000) -> Sample:
    return Sample(mean, mean + sd * stats.norm.ppf((np.arange(b) + 0.5) / b), n=10, seeds=5, clusters=10)


def rows(arrays: dict[tuple[str, int, int], dict[Metric, Array]], at: tuple[str, float] = HEAVY) -> Results:
    """Return results with arrays of (head, pairs, seed)."""
    found = [Row(Cell("fit", "world", head, n, *at, seed), "", arrays=a) for (head, n, seed), a in arrays.items()]
    return Results(simulated.config(), found)


def cells(results: Results) -> Cells:
    return Cells(DatasetFits(results, "world"), 200)


def finding(name: str, verdict: claims.ClaimVerdict, p: float | None = None, dataset: str = "world") -> Finding:
    return Finding(name, "a claim", "a source", dataset, 0.5, 0.1, 0.9, 10, 5, verdict, "because", 0.3, p)


# Samples


def test_one_seed_gives_student_s_interval() -> None:
    x = np.random.default_rng(0).normal(size=8)
    low, high = resample([x[:, None]], first, draws=100_000).interval
    # The percentile bootstrap of a skewed sample leans to one side; its length is Student's.
    assert (high - low) / 2 == pytest.approx(stats.t.ppf(0.975, 7) * x.std(ddof=1) / np.sqrt(8), rel=0.03)


def test_prompts_and_seeds_have_each_their_own_factor() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(30, 1)) + rng.normal(size=(1, 4))
    found = resample([x], first, draws=40_000)
    parts = [(x.mean(axis=axis), n) for axis, n in ((1, 30), (0, 4))]
    half = np.sqrt(sum((stats.t.ppf(0.975, n - 1) * y.std(ddof=1)) ** 2 / n for y, n in parts))
    low, high = found.interval
    assert (high - low) / 2 == pytest.approx(half, rel=0.1)  # four seeds: the bootstrap's law is no normal one
    assert (found.n, found.seeds) == (30, 4)
    assert found.estimate == pytest.approx(x.mean())


def test_crossed_groups_share_their_seeds() -> None:
    of_seed = np.random.default_rng(0).normal(size=(1, 6))
    groups = [np.zeros((5, 1)) + of_seed, np.zeros((7, 1)) + of_seed]
    together = resample(groups, lambda means: means[0] - means[1], draws=500)
    apart = resample(groups, lambda means: means[0] - means[1], draws=500, crossed=False)
    np.testing.assert_allclose(together.draws, 0, atol=1e-12)
    assert apart.draws.std() > 0.1
    assert (together.seeds, apart.seeds) == (6, 12)


def test_a_bootstrap_refuses_what_it_cannot_resample() -> None:
    with pytest.raises(
        DataError, match=r"at least 2 clusters of prompts and finite values, got 1 and an array of shape \(1, 3\)"
    ):
        resample([np.ones((1, 3))], first, draws=10)
    with pytest.raises(DataError, match="finite values"):
        resample([np.full((4, 3), np.nan)], first, draws=10)


def test_the_detectable_effect_is_found_in_four_trials_of_five() -> None:
    rng, found, trials = np.random.default_rng(0), 0, 1000
    effect = resample([rng.normal(size=(400, 1))], first, draws=2000).detectable
    for _ in range(trials):
        mean = rng.normal(effect, 1 / np.sqrt(400))
        found += mean > 1.96 / np.sqrt(400)
    assert found / trials == pytest.approx(0.8, abs=0.06)


# Verdicts


@pytest.mark.parametrize(("mean", "verdict"), [(2.5, "supported"), (0.5, "inconclusive"), (-2.5, "contradicted")])
def test_a_difference_is_judged_by_its_interval(mean: float, verdict: str) -> None:
    part = difference("it", sample(mean))
    assert part.verdict == verdict
    assert part.p_for == pytest.approx(min(2 * stats.norm.sf(mean), 1), abs=1e-3)
    assert part.p_against == pytest.approx(min(2 * stats.norm.sf(-mean), 1), abs=1e-3)


@pytest.mark.parametrize(
    ("mean", "verdict"),
    [(0, "supported"), (2, "inconclusive"), (4, "inconclusive"), (6, "contradicted"), (-6, "contradicted")],
)
def test_an_equivalence_wants_the_whole_interval_inside_the_margin(mean: float, verdict: str) -> None:
    part = equivalence("it", sample(mean), below=3, above=-3)
    assert part.verdict == verdict
    assert (part.p_for < 0.05) == (verdict == "supported")
    assert (part.p_against < 0.05) == (verdict == "contradicted")


def test_a_one_sided_margin_lets_the_other_side_be() -> None:
    assert equivalence("it", sample(-100), below=3).verdict == "supported"


def test_all_parts_must_hold_and_the_weakest_decides() -> None:
    strong, weak, none = (difference(name, sample(mean)) for name, mean in (("a", 4), ("b", 2.2), ("c", 1)))
    assert conclude([strong, weak]) == ("supported", weak.p_for, 1.0, weak)
    verdict, _, _, decisive = conclude([strong, none, weak])
    assert (verdict, decisive) == ("inconclusive", none)


def test_one_part_of_many_contradicts_only_beyond_chance() -> None:
    good = [difference("good", sample(4))] * 9
    slight, clear = (difference("bad", sample(mean)) for mean in (-2.2, -3.5))
    assert conclude([slight])[0] == "contradicted"
    assert conclude([*good, slight])[0] == "inconclusive"
    verdict, p, _, decisive = conclude([*good, clear])
    assert (verdict, decisive) == ("contradicted", clear)
    assert p == pytest.approx(10 * clear.p_against)


def test_holm_steps_down_and_stops_at_the_first_that_fails() -> None:
    # Adjusted p-values by hand: 0.005 · 4, 0.01 · 3, then 0.03 · 2 > 0.05, after which nothing is kept.
    found = [finding(name, "supported", p) for name, p in (("C1", 0.01), ("C2", 0.04), ("C3", 0.03), ("C4", 0.005))]
    found.append(finding("C5", "not run"))
    assert [f.holm for f in holm(found)] == ["supported", "inconclusive", "inconclusive", "supported", "not run"]


def test_sides_and_negligible_effects_are_corrected_each_by_themselves() -> None:
    p = ((0.03, 0.001), (0.001, 0.002), (0.001, 0.5), (0.9, 0.04))
    said: list[claims.ClaimVerdict] = ["supported", "contradicted", "supported", "negligible"]
    found = holm([replace(finding("C1", v, a), p_negligible=b) for v, (a, b) in zip(said, p, strict=True)])
    # By hand: the sides' 0.03 · 2 is above 5 %, and of the others' 0.04 · 2 is; what is left of the first is its size.
    assert [f.word for f in found] == [
        *("negligible", "contradicted, but negligible", "supported", "inconclusive (negligible alone, needs × 1.7)")
    ]
    needed = found[3].needed  # at so many times the data its one-sided p-value would be 5 % over four
    assert needed is not None
    assert stats.norm.isf(0.04) * np.sqrt(needed) == pytest.approx(stats.norm.isf(0.05 / 4))


def test_effects_of_zero_are_rarely_given_a_side_however_much_data_there_is() -> None:
    """Forty effects of zero, all shown to be too small to matter, are still forty chances to be given a side."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(400):
        z = rng.normal(size=40)
        p = 2 * stats.norm.sf(np.abs(z))
        verdicts: list[claims.ClaimVerdict] = [
            "negligible" if p > 0.05 else "supported" if z > 0 else "contradicted" for p, z in zip(p, z, strict=True)
        ]
        rows = [replace(finding("C1", v, one), p_negligible=1e-9) for v, one in zip(verdicts, p.tolist(), strict=True)]
        wrong += any(f.holm != "negligible" for f in holm(rows))
    assert wrong / 400 < 0.08  # 5 % and three standard errors


# Reading rows


def test_what_is_compared_has_one_size_and_the_same_seeds() -> None:
    results = rows(
        {
            ("a", 500, 0): {X: np.full(3, 1.0)},
            ("a", 500, 1): {X: np.full(3, 2.0)},
            ("a", 1000, 0): {X: np.full(3, 3.0)},
            ("b", 500, 1): {X: np.full(3, 4.0)},
            ("b", 500, 2): {X: np.full(3, 5.0)},
        }
    )
    a, b = cells(results).gather(Of("a", X), Of("b", X))
    np.testing.assert_array_equal(a, np.full((3, 1), 2.0))
    np.testing.assert_array_equal(b, np.full((3, 1), 4.0))
    (alone,) = cells(results).gather(Of("a", X))
    np.testing.assert_array_equal(alone, np.full((3, 1), 3.0))
    (small,) = cells(results).gather(Of("a", X), pairs="smallest")
    np.testing.assert_array_equal(small, np.full((3, 2), [1.0, 2.0]))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ([Of("c", X)], "world has no head titled 'c'"),
        ([Of("steps", Metric("experiment", "steps.min"))], "world has no experiment titled 'steps'"),
        ([Of("a", X, flips=0.0)], "world has no 'a' under 'biased' at 0 % flips$"),
        ([Of("a", Metric("bon", "y"))], "'a' of world has no 'bon.y' under 'biased' at 25 % flips"),
        (
            [Of("a", X), Of("b", X)],
            r"no size of pairs and seed at which all of 'a' \(bon.x\), 'b' \(bon.x\) were fitted",
        ),
    ],
)
def test_what_is_missing_is_named(wanted: list[Of], message: str) -> None:
    results = rows({("a", 500, 0): {X: np.ones(3)}, ("b", 500, 1): {X: np.ones(3)}})
    with pytest.raises(MissingError, match=message):
        cells(results).gather(*wanted)


def test_a_path_is_used_as_far_as_all_are_reliable() -> None:
    long, short = np.arange(27.0).reshape(3, 9), np.arange(27.0).reshape(3, 9)
    short[:, 6:] = np.nan
    results = rows({("a", 500, 0): {Metric("path", "mean"): long}, ("b", 500, 0): {Metric("path", "mean"): short}})
    curves = cells(results).curves(Of("a", Metric("path", "mean")), Of("b", Metric("path", "mean")))
    np.testing.assert_allclose(curves.kl, simulated.KL[:6])
    assert curves.gold.shape == (3, 1, 2, 6)
    assert curves.end == "1.2 nats"
    ends = cells(results).endpoints(Of("a", Metric("path", "mean")), Of("b", Metric("path", "mean")))
    assert ends.at == "at 1 nats"  # 1.25 nats are reliable: the largest of 4, 3, 2 and 1 within is 1
    np.testing.assert_array_equal(ends.gold[:, 0, 0], long[:, 4])
    short[:, 1:] = np.nan
    with pytest.raises(MissingError, match="is not reliable at any KL above 0"):
        cells(results).curves(Of("a", Metric("path", "mean")), Of("b", Metric("path", "mean")))


def test_the_best_of_n_ends_at_the_largest_n() -> None:
    gold = np.arange(24.0).reshape(3, 8)
    arrays = {Metric("sizes"): np.array(simulated.SIZES, dtype=float), Metric("bon", "mean"): gold}
    results = rows({("a", 500, 0): arrays})
    curves = cells(results).curves(Of("a", Metric("bon", "mean")))
    np.testing.assert_allclose(curves.kl, [np.log(n) - (n - 1) / n for n in simulated.SIZES])
    ends = cells(results).endpoints(Of("a", Metric("bon", "mean")))
    assert (curves.end, ends.at) == ("best of 128", "of the best of 128")
    np.testing.assert_array_equal(ends.gold[:, 0, 0], gold[:, -1])


def test_an_endpoint_between_two_points_is_read_off_between_them() -> None:
    config = simulated.config().model_copy(update={"kl_end": 1.5, "kl_points": 3})
    path = np.array([[0.0, 3.0, 4.0], [0.0, 6.0, 8.0]])  # at 0, 0.75 and 1.5 nats
    results = replace(rows({("a", 500, 0): {Metric("path", "mean"): path}}), config=config)
    ends = cells(results).endpoints(Of("a", Metric("path", "mean")))
    assert ends.at == "at 1 nats"
    np.testing.assert_allclose(ends.gold[:, 0, 0], [3 + 1 / 3, 6 + 2 / 3])
    results = replace(results, config=config.model_copy(update={"kl_end": 0.5}))
    ends = cells(results).endpoints(Of("a", Metric("path", "mean")))
    assert ends.at == "at 0.5 nats"
    np.testing.assert_allclose(ends.gold[:, 0, 0], [4, 8])


def test_a_parameter_is_chosen_on_other_prompts_and_other_seeds() -> None:
    values = np.zeros((9, 3, 3))
    values[validation(9), 0, 1] = 5.0  # one seed's validation prompts like column 1
    values[validation(9), :, 2] += 1.0
    values[~validation(9), :, 0] = 9.0  # what the claim is measured on must not matter
    values[~validation(9), :, 2] = 7.0
    found = choose(values, [1, 2], np.arange(9))
    assert found.usual == 1  # two seeds see the first one's liking, the first does not see its own
    np.testing.assert_array_equal(found.values, np.tile([7.0, 0.0, 0.0], (6, 1)))
    alone = choose(values[:, :1], [1, 2], np.arange(9))
    np.testing.assert_array_equal(alone.values, np.zeros((6, 1)))


def test_wordings_of_a_topic_are_on_one_side_of_a_choice() -> None:
    clusters = np.array([5, 8, 7, 5, 7, 8])
    found = choose(np.zeros((6, 1, 2)), [0, 1], clusters)
    np.testing.assert_array_equal(found.rest, clusters != 5)  # the first topic of three validates
    np.testing.assert_array_equal(found.clusters, [8, 7, 7, 8])


def test_prompts_without_a_number_are_left_out() -> None:
    x = np.array([[1.0, 2.0], [np.nan, 1.0], [3.0, 4.0]])
    np.testing.assert_array_equal(complete(x, np.arange(3.0)[:, None]), [True, False, True])


def test_too_few_prompts_are_missing_prompts() -> None:
    with pytest.raises(MissingError, match="fewer than 2 topics"):
        cells(rows({})).mean(np.ones((1, 4)), None)
    with pytest.raises(MissingError, match="fewer than 2 topics"):
        cells(rows({})).mean(np.ones((3, 4)), np.zeros(3, dtype=int))


def test_clusters_are_those_that_the_controls_name() -> None:
    fits = rows({("a", 500, 0): {X: np.ones(4), Metric("path", "x"): np.ones(4), Metric("accuracy", "in"): np.ones(4)}})
    named = {Metric("clusters", "pool"): np.array([1.0, 1.0, 0.0, 0.0]), Metric("clusters", "in"): np.array([2.0] * 4)}
    here = cells(replace(fits, rows=[*fits.rows, Row(Cell("control", "world", "oracle"), "", arrays=named)]))
    np.testing.assert_array_equal(here.clusters(X), [1, 1, 0, 0])
    np.testing.assert_array_equal(here.clusters(Metric("accuracy", "in")), [2, 2, 2, 2])
    np.testing.assert_array_equal(here.clusters(Metric("path", "x")), [0, 1, 2, 3])  # each its own, where none is named
    assert here.mean(np.array([[0.0], [0.0], [1.0], [1.0]]), here.clusters(X)).clusters == 2
    with pytest.raises(MissingError, match=r"world has no 'bon\.y'"):
        here.clusters(Metric("bon", "y"))


def test_peaks_are_found_where_they_were_planted() -> None:
    here = cells(rows({}))
    gold = np.array([0.0, 1.0, 3.0, 2.0])[None, None, None] + np.zeros((6, 4, 1, 1))
    gold = np.concatenate([gold, gold / 2], axis=2)
    both = GoldCurves(np.arange(4.0), gold, np.arange(6), "3 nats")
    assert drop(here, replace(both, gold=gold[:, :, :1])).estimate == pytest.approx(1.0)
    gains = cross_fitted(here, both, lambda found: found[0][:, 0] - found[0][:, 1])
    assert gains.estimate == pytest.approx(1.5)


# Claims


def test_every_claim_without_rows_says_what_is_missing() -> None:
    found = claims.findings(Results(simulated.config(), []))
    assert [f.id for f in found] == [f"C{i}" for i in range(1, 30)]
    assert {(f.verdict, f.holm, f.effect, f.p) for f in found} == {("not run", "not run", None, None)}
    assert all(f.reason.startswith("Not run: world has no ") for f in found)


def test_findings_cover_every_data_set() -> None:
    config = simulated.config()
    two = [config.datasets[0], config.datasets[0].model_copy(update={"name": "other"})]
    results = replace(simulated.trial("C15", holds=True, number=0), config=config.model_copy(update={"datasets": two}))
    found = claims.findings(results, draws=200)
    assert {(f.dataset, f.id) for f in found} == {
        (data, name) for data in ("world", "other") for name in claims.names()
    }
    said = {f.name: f.verdict for f in found if f.id == "C15"}
    assert said == {
        "world/C15/biased/path": "supported",
        "world/C15/biased/bon": "supported",
        "other/C15/biased/path": "not run",
    }


def test_heads_of_a_claim() -> None:
    assert claims.heads_of("C4") == {"mlp", "inform"}
    assert claims.heads_of("C5") == {"mlp", "inform beta=* latent*"}
    with pytest.raises(UnknownNameError, match="no claim named 'C99'"):
        claims.heads_of("C99")


@pytest.mark.parametrize("name", sorted(simulated.SCENARIOS))
def test_a_claim_reads_no_head_that_it_does_not_name(name: str) -> None:
    results = simulated.trial(name, holds=True, number=0)
    patterns = claims.heads_of(name)
    kept = [row for row in results.rows if any(fnmatchcase(row.cell.head, pattern) for pattern in patterns)]
    unread = {row.cell.head for row in results.rows} - {row.cell.head for row in kept}
    assert unread <= {"mlp"}  # every simulation has a standard head
    here = replace(results, rows=kept)
    assert {f.verdict for f in claims.get(name)(here, "world", draws=200)} == {"supported"}


def test_the_setting_is_part_of_the_reason() -> None:
    results = simulated.trial("C15", holds=True, number=0)
    found = claims.get("C15")(results, "world", draws=200)[0]
    assert found.reason.startswith("gold at 2 nats across embedders minus across seeds 0.")
    assert found.reason.endswith("500 pairs, biased, 25 % flips, 5 seeds.")
    assert (found.n, found.seeds) == (simulated.PATH_PROMPTS, simulated.SEEDS)


def test_one_seed_is_said_to_be_one() -> None:
    scenario = simulated.SCENARIOS["C15"](True)
    results = simulated.results(scenario, rng=np.random.default_rng(0), seeds=1)
    found = claims.get("C15")(results, "world", draws=200)[0]
    assert found.seeds == 1
    assert "25 % flips, 1 seed. One seed: resampled over prompts alone" in found.reason


def test_gold_that_stays_at_its_peak_makes_the_fall_negligible() -> None:
    truth = {("mlp", Metric("path", "mean"), HEAVY): simulated.hump(2, 0.0)}
    found = claims.get("C1")(simulated.results(truth, rng=np.random.default_rng(0)), "world", draws=400)[0]
    assert found.smallest == pytest.approx(0.1 * 2, rel=0.1)
    assert (found.verdict, found.negligible) == ("negligible", False)


def test_the_fall_is_examined_under_every_mechanism_in_both_channels() -> None:
    truth = simulated.in_both_channels(
        {
            ("mlp", Metric("path", "mean"), HEAVY): simulated.hump(2, 0.6),
            ("mlp", Metric("path", "mean"), CLEAN): simulated.hump(2, 0.9),
            ("mlp", Metric("path", "mean"), FAIR): simulated.hump(2, 0.0),
            ("mlp", Metric("path", "mean"), ("fair", 0.25)): simulated.hump(2, 0.6),
        }
    )
    found = claims.get("C1")(simulated.results(truth, rng=np.random.default_rng(0)), "world", draws=400)
    said = {(f.mechanism, f.channel): f.verdict for f in found}
    assert said == {
        ("fair", "path"): "negligible",
        ("fair", "bon"): "negligible",
        ("noisy", "path"): "supported",
        ("noisy", "bon"): "supported",
        ("biased", "path"): "supported",
        ("biased", "bon"): "supported",
    }
    of_path = next(f for f in found if (f.mechanism, f.channel) == ("biased", "path"))
    assert of_path.effect == pytest.approx(0.9, abs=0.1)  # clean labels, where there are any: noise is one of its own


def test_an_effect_that_holds_and_is_too_small_to_matter_is_said_to_be_both() -> None:
    small = Sample(0.05, np.linspace(0.03, 0.07, 999), n=40, seeds=5, clusters=40)
    part = difference("gold", small, smallest=0.1)
    assert part.verdict == "supported"
    (found,) = holm([replace(finding("C2", "supported", part.p_for), p_negligible=part.p_negligible)])
    assert found.word == "supported, but negligible"


def test_a_defence_is_compared_with_the_standard_head_in_units_of_its_gain() -> None:
    results = simulated.trial("C21", holds=True, number=0)
    found = claims.get("C21")(results, "world", draws=200)
    assert len(found) == 7 * 2
    assert {f.defence for f in found} == {
        *("worst case", "uncertainty weighting", "bottleneck", "latent penalty"),
        *("weight averaging", "Laplace", "BRME's mixture"),
    }
    # At the end the standard head has lost 0.5 of its gain of 2, and a defence keeps 0.5 more.
    assert np.mean([f.effect for f in found if f.effect is not None]) == pytest.approx(0.25, abs=0.03)
    assert {f.smallest for f in found} == {0.1}
    chosen = next(f for f in found if f.defence == "BRME's mixture")
    assert "chosen" not in chosen.reason  # of three weights one is a mixture
    without = replace(results, rows=[row for row in results.rows if row.cell.head != "laplace"])
    assert "Laplace" not in {f.defence for f in claims.get("C21")(without, "world", draws=200)}


def test_a_standard_head_that_gains_nothing_measures_no_defence() -> None:
    truth = {
        ("mlp", Metric("path", "mean"), HEAVY): simulated.hump(-2, 0.0),
        ("inform", Metric("path", "mean"), HEAVY): simulated.hump(2, 0.0),
    }
    found = claims.get("C21")(simulated.results(truth, rng=np.random.default_rng(0)), "world", draws=200)
    assert [f.reason for f in found if (f.channel, f.defence) == ("path", "bottleneck")] == [
        "Not run: the standard head gains no gold on world that a defence could be measured by."
    ]


def test_a_frontier_needs_two_points() -> None:
    heads = ("inform beta=0.1", "mlp weight_decay=1")
    arrays: dict[tuple[str, int, int], dict[Metric, Array]] = {(head, 500, 0): {X: np.ones(3)} for head in heads}
    assert "no frontier: two heads titled 'inform beta=*' or more" in claims.get("C20")(rows(arrays), "world")[0].reason


def test_far_tails_are_those_of_student_s_law() -> None:
    x = np.random.default_rng(0).normal(1.0, 1.0, size=(30, 1))
    found = resample([x], first, draws=4000)
    assert found.freedom == pytest.approx(29)
    at = x.mean() / (x.std(ddof=1) / np.sqrt(30))
    assert found.beyond(0.0, above=False) == pytest.approx(stats.t.sf(at, 29), rel=0.6)  # 1e-5, and no draw is there
    assert found.beyond(x.mean(), above=False) == pytest.approx(0.5, abs=0.03)  # a share of the draws
    few = resample([np.random.default_rng(0).normal(9, 1, size=(4, 3))], first, draws=400)
    assert 2 <= few.freedom <= 3


def test_cases_follow_the_scope() -> None:
    arrays = {X: np.ones(3)}
    cells = [
        Cell("fit", "world", head, 500, mechanism, flips, 0)
        for head, mechanism, flips in [
            *(("a", "fair", 0.0), ("a", "fair", 0.25), ("a", "confounded", 0.0), ("a", "biased", 0.25)),
            *(("b", "confounded", 0.0), ("b", "fair", 0.25)),
        ]
    ]
    fits = DatasetFits(Results(simulated.config(), [Row(cell, "", arrays=arrays) for cell in cells]), "world")
    cases = {
        under: [(case.mechanism, case.flips) for case in claims.Scope(under=under).cases(fits, ["a"])]
        for under in get_args(Under)
    }
    assert cases == {
        "every": [("fair", 0.25), ("fair", 0.0), ("biased", 0.25), ("confounded", 0.0)],
        "hacks": [("biased", 0.25), ("confounded", 0.0)],
        "one": [("biased", 0.25)],
        "fair": [("fair", 0.25)],
        "none": [("", 0.25)],
    }
    both = claims.Scope(under="one", channels=("path", "bon")).cases(fits, ["a", "b"])
    assert both == [Case("confounded", 0.0, "path"), Case("confounded", 0.0, "bon")]


def test_the_share_of_the_grid_is_in_the_reason() -> None:
    found = claims.get("C5")(simulated.trial("C5", holds=True, number=0), "world", draws=400)[0]
    assert "ahead in 4 of 4 cells, clearly in 4" in found.reason


def test_a_grid_that_was_not_fitted_is_missing() -> None:
    results = simulated.results(
        {("mlp", Metric("path", "mean"), HEAVY): simulated.rising(2)}, rng=np.random.default_rng(0)
    )
    assert "no head titled 'inform beta=* latent*'" in claims.get("C5")(results, "world")[0].reason


def test_rules_that_were_not_applied_are_missing() -> None:
    results = rows(
        {
            ("inform", 500, 0): {Metric("path", "mean"): np.ones((4, 9))},
            ("brme", 500, 0): {Metric("path", "robust 0"): np.ones(9)},
        }
    )
    assert "no path of 'inform' under a rule titled 'ibl …'" in claims.get("C9")(results, "world")[0].reason
    assert "needs rules 'robust 0', 'robust 1' and some between" in claims.get("C11")(results, "world")[0].reason


def test_the_spread_over_two_seeds_is_no_spread() -> None:
    scenario = simulated.SCENARIOS["C12"](True)
    results = simulated.results(scenario, rng=np.random.default_rng(0), seeds=2)
    assert "needs at least 3 of 'brme', world has 2" in claims.get("C12")(results, "world")[0].reason


def test_a_forecast_needs_something_to_forecast() -> None:
    arrays = {Metric("sizes"): np.array([1.0, 2, 32, 58]), Metric("bon", "mean"): np.ones((4, 4))}
    found = claims.get("C17")(rows({("mlp", 500, 0): arrays}), "world")[0]
    assert "best of 1, 2, 32, 58; needed are 1, two more up to 64, and one above" in found.reason


def test_noise_without_noisy_labels_is_missing() -> None:
    found = claims.get("C16")(rows({("mlp", 500, 0): {}}, at=FAIR), "world")[0]
    assert "at 25% flips or more" in found.reason


def test_hacked_texts_that_few_prompts_have_are_averaged_over_seeds() -> None:
    rng = np.random.default_rng(0)
    arrays: dict[tuple[str, int, int], dict[Metric, Array]] = {}
    for seed in range(4):
        level = {"latent": 0.9, "joint": 0.7, "pca": 0.6}
        auroc: dict[Metric, Array] = {
            Metric("auroc", space=space): mean + 0.02 * rng.normal(size=12) for space, mean in level.items()
        }
        for values in auroc.values():
            values[seed::4] = np.nan  # every prompt lacks hacked texts under one seed
        arrays["inform", 500, seed] = auroc
    found = claims.get("C8")(rows(arrays), "world", draws=400)[0]
    assert found.verdict == "supported"
    assert (found.n, found.seeds) == (12, 1)
    assert "those with hacked texts are averaged" in found.reason


def trained(csi: Array, gold: Array, *, mechanism: str, seed: int, head: str = "inform", rule: str = "") -> Row:
    kl = np.linspace(0, 5, len(gold))
    return Row(
        Cell("rl", "world", head, 500, mechanism, 0.25, seed, rule),
        "",
        arrays={Metric("watch", "csi", "latent"): csi, Metric("run", "gold"): gold, Metric("run", "kl"): kl},
    )


def test_live_runs_come_before_paths() -> None:
    results = simulated.trial("C7", holds=False, number=0)
    rng, turn = np.random.default_rng(0), np.repeat([0.0, 1.0], [20, 10])
    gold = np.concatenate([np.arange(20.0), 19 - np.arange(10.0)])
    runs = [trained(2 + turn + 0.02 * rng.normal(size=30), gold, mechanism="biased", seed=seed) for seed in range(4)]
    runs += [trained(2 + 0.02 * rng.normal(size=30), np.arange(30.0), mechanism="fair", seed=seed) for seed in range(4)]
    found = claims.get("C7")(replace(results, rows=[*results.rows, *runs]), "world", draws=400)[0]
    assert found.verdict == "supported"
    assert "RL runs: alarm in time in" in found.reason
    assert "false alarms among fair annotators in 1 of 4: too few runs to tell" in found.reason


def test_a_run_against_fair_annotators_is_clean_only_until_its_gold_falls() -> None:
    results = simulated.trial("C7", holds=False, number=0)
    rng, turn = np.random.default_rng(0), np.repeat([0.0, 1.0], [20, 10])
    gold = np.concatenate([np.arange(20.0), 19 - np.arange(10.0)])
    later = np.concatenate([np.arange(27.0), 25 - 9.0 * np.arange(3)])
    soon = np.concatenate([np.arange(9.0), 8 - np.arange(21.0)])
    jump = np.repeat([0.0, 9.0], [29, 1])  # of CSI, after the fall
    hacked = [trained(2 + turn + 0.02 * rng.normal(size=30), gold, mechanism="biased", seed=seed) for seed in range(4)]
    fair = [trained(2 + jump + 0.02 * rng.normal(size=30), later, mechanism="fair", seed=seed) for seed in range(4)]
    found = claims.get("C7")(with_rows(results, [*hacked, *fair]), "world", draws=400)[0]
    assert found.verdict == "supported"
    fair = [trained(2 + turn, soon, mechanism="fair", seed=seed) for seed in range(4)]
    found = claims.get("C7")(with_rows(results, [*hacked, *fair]), "world", draws=400)[0]
    assert found.verdict != "supported"
    assert "runs along the path: alarm in time" in found.reason
    assert "4 of 4 RL runs of world, and 0 of 4 with fair annotators get as far without a fall" in found.reason


def test_over_optimisation_says_what_gold_did_in_training_runs_at_which_kl() -> None:
    results = simulated.trial("C1", holds=True, number=0)
    gold = np.repeat([1.0, 2.0, 3.0, 2.5, -1.0], 3)
    runs = [trained(gold, gold + seed, mechanism="biased", seed=seed, head="mlp") for seed in range(3)]
    runs[0].arrays[Metric("run", "kl")][:] = np.linspace(0, 4, 15)  # not as far as the others
    kl = [np.convolve(run.arrays[Metric("run", "kl")], np.full(3, 1 / 3), "valid") for run in runs]
    smooth = np.convolve(gold, np.full(3, 1 / 3), "valid")
    at = [np.mean([smooth[np.argmax(x >= mark)] + seed for seed, x in enumerate(kl)]) for mark in (1, 2)]
    found = claims.get("C1")(with_rows(results, runs), "world", draws=100)
    said = (
        f"training runs (3): gold is 2 at first, {at[0]:.3g} at 1 nat, {at[1]:.3g} at 2 nats, and 0 in the last fifth "
        f"of the steps, at {min(x[-1] for x in kl):.2g} to {max(x[-1] for x in kl):.2g} nats"
    )
    assert {said in finding.reason for finding in found if finding.mechanism == "biased"} == {True}
    assert {"training runs" in finding.reason for finding in found if finding.mechanism != "biased"} <= {False}


def test_the_penalty_is_compared_with_none_in_training_runs_at_equal_kl() -> None:
    results = simulated.trial("C9", holds=True, number=0)
    gold = np.repeat([1.0, 2.0, 3.0, 2.0, -1.0], 4)
    runs = [trained(gold, gold + seed, mechanism="biased", seed=seed) for seed in (0, 1, 2)]
    runs += [trained(gold, gold + 1.0 + seed, mechanism="biased", seed=seed, rule="ibl 0.1") for seed in (1, 2, 3)]
    short = runs[-2]
    short.arrays[Metric("run", "kl")][:] = np.linspace(0, 3, 20)  # went as far as the mean of its last four steps
    found = {
        finding.mechanism: finding.reason for finding in claims.get("C9")(with_rows(results, runs), "world", draws=100)
    }
    reached = np.linspace(0, 3, 20)[-4:].mean()
    start = int(np.argmax(np.convolve(np.linspace(0, 5, 20), np.full(4, 0.25), "valid") >= reached))
    plain = 1.5 + gold[start : start + 4].mean()
    other = 1.0 + (1 + gold[-4:].mean() + 2 + gold[start : start + 4].mean()) / 2
    said = f"training runs (2 seeds): gold at {reached:.2g} nats is {plain:.3g} by the mean, {other:.3g} by ibl 0.1"
    assert said in found["biased"]
    assert "training runs" not in claims.get("C9")(with_rows(results, runs[:3]), "world", draws=100)[0].reason


def test_robust_runs_are_compared_in_gold_and_its_spread_over_seeds() -> None:
    results = simulated.trial("C12", holds=True, number=0)
    gold = np.repeat([1.0, 2.0, 3.0, 2.0, -1.0], 4)
    runs = [
        trained(gold, gold + more * seed, mechanism="biased", seed=seed, head="brme", rule=rule)
        for rule, more in (("robust 0", 1.0), ("robust 0.5", 0.1))
        for seed in range(3)
    ]
    said = "gold in the last fifth of the steps is 0 (sd 1) by robust 0, -0.9 (sd 0.1) by robust 0.5"
    assert (
        f"training runs (3 seeds): {said}" in claims.get("C12")(with_rows(results, runs), "world", draws=100)[0].reason
    )
    few = with_rows(results, [run for run in runs if run.cell.seed == 0])
    assert "training runs" not in claims.get("C12")(few, "world", draws=100)[0].reason


def with_rows(results: Results, runs: list[Row]) -> Results:
    return replace(results, rows=[*results.rows, *runs])


def test_runs_that_are_not_hacked_cannot_show_a_rise() -> None:
    results = simulated.trial("C7", holds=True, number=0)
    for row in results.rows:
        if row.cell.mechanism == "biased":
            row.arrays[Metric("points", "gold")][:] = np.arange(9.0)
    found = claims.get("C7")(results, "world", draws=400)[0]
    assert "gold falls in 0 of 5 runs along the path" in found.reason


def timed(seconds: list[float], limit: float) -> Results:
    fits = [
        Row(Cell("fit", "world", "mlp", 500, "biased", 0.0, i), "", seconds={"fit": s}) for i, s in enumerate(seconds)
    ]
    tuning = Row(Cell("tuning", "world", "mlp"), "", seconds={"tuning": 0.1 * len(seconds)})
    return Results(simulated.config(limit=limit), [*fits, tuning])


@pytest.mark.parametrize(("limit", "verdict"), [(5000, "supported"), (2400, "inconclusive"), (1000, "contradicted")])
def test_the_cost_is_compared_with_the_limit(limit: float, verdict: str) -> None:
    found = claims.get("C19")(timed([0.08, 0.1, 0.12] * 20, limit), "world")[0]
    assert found.verdict == verdict
    assert found.effect == pytest.approx(12_000 * (0.1 + 0.1))  # a fit and its share of the tuning


def test_fits_without_times_have_no_cost() -> None:
    assert claims.get("C19")(rows({("mlp", 500, 0): {}}), "world")[0].verdict == "not run"


# Files


def test_findings_are_written_as_json(tmp_path: Path) -> None:
    found = [finding("C1", "supported", 0.01), replace(finding("C2", "not run"), effect=None)]
    path = claims.write(found, tmp_path, rows="ab" * 12)
    assert path == tmp_path / "claims.json"
    assert json.loads(path.read_text(encoding="utf-8")) == [asdict(f) | {"rows": "ab" * 12} for f in found]
    assert claims.rows_of(tmp_path) == "ab" * 12
    for other in ("", "[]", '[{"rows": "a"}, {"rows": "b"}]', "[1]", '{"rows": 1}'):
        path.write_text(other, encoding="utf-8")
        assert claims.rows_of(tmp_path) is None


def judged(name: str, verdict: claims.ClaimVerdict, mechanism: str = "biased", dataset: str = "world") -> Finding:
    return replace(finding(name, verdict, dataset=dataset), holm=verdict, mechanism=mechanism, channel="path")


def test_expected_verdicts_come_back(tmp_path: Path) -> None:
    found = [judged("C1", "supported"), judged("C2", "not run")]
    path = tmp_path / "expected.yaml"
    claims.write_expected(path, found)
    one: claims.Expected = {"C1/biased/path": frozenset({"supported"}), "C2/biased/path": frozenset({"not run"})}
    assert claims.read_expected(path) == one
    assert claims.differing(found, one) == []
    claims.write_expected(path, [*found, judged("C1", "contradicted", dataset="other")])
    assert set(claims.read_expected(path)) == {*(f"world/{name}" for name in one), "other/C1/biased/path"}


def test_an_expectation_may_be_a_list_or_a_denial(tmp_path: Path) -> None:
    path = tmp_path / "expected.yaml"
    path.write_text("C1/fair: not supported\nC20: [supported, negligible]\n", encoding="utf-8")
    assert claims.read_expected(path) == {
        "C1/fair": {"contradicted", "negligible", "inconclusive"},  # a control that was not run controls nothing
        "C20": {"supported", "negligible"},
    }


def test_a_verdict_that_differs_is_named() -> None:
    supported: frozenset[claims.ClaimVerdict] = frozenset({"supported"})
    negligible: frozenset[claims.ClaimVerdict] = frozenset({"negligible"})
    found = [judged("C1", "supported"), judged("C1", "negligible", "fair"), judged("C1", "supported", dataset="other")]
    assert claims.differing(found, {}) == []
    assert claims.differing(found, {"C1": supported, "C1/fair": negligible}) == []
    assert claims.differing(found, {"C1": supported}) == [
        "world/C1/fair/path is negligible, expected was supported: because"
    ]
    assert len(claims.differing(found, {"C1": supported, "world/C1": negligible})) == 1  # the longer name counts
    with pytest.raises(DataError, match=r"a verdict of 'word/C1', .* Did you mean 'world/C1'\?"):
        claims.differing(found, {"word/C1": supported})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("C1: yes", "'True' is no verdict"),
        ("C1: not not run", "'not not run' is no verdict"),
        ("C1: []", "'nothing' is no verdict"),
        ("[1]", "lines such as `C1: supported`"),
        ("a: [", "cannot be read as YAML"),
    ],
)
def test_expectations_that_are_none_are_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "expected.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        claims.read_expected(path)
    with pytest.raises(DataError, match=r"none\.yaml cannot be read"):
        claims.read_expected(tmp_path / "none.yaml")


def test_no_amount_of_data_decides_an_effect_of_zero() -> None:
    nothing = Sample(0.0, np.linspace(-0.1, 0.1, 999), n=40, seeds=2, clusters=40)
    part = difference("gold", nothing)
    assert (part.verdict, part.needed) == ("inconclusive", None)  # infinity is no JSON, and a study would fail on it
    part = difference("gold", nothing, smallest=0.05)  # its 90 % interval must halve, almost
    # Its standard error is the 0.095 of the 95 % interval over 1.96; 1.645 of them must fit into the margin.
    assert part.needed == pytest.approx((0.095 / 1.96 * 1.645 / 0.05) ** 2, rel=0.01)


def test_what_is_undecided_after_holm_needs_more_than_alone() -> None:
    alone = [replace(finding(f"C{i}", "supported", p), freedom=20.0) for i, p in enumerate((0.04, 0.03, 0.045))]
    open_one = replace(finding("C3", "inconclusive", 0.3), freedom=20.0, needed=3.0)
    found = holm([*alone, open_one])
    assert {f.holm for f in found} == {"inconclusive"}
    for f in found[:3]:  # at so many times the data its p-value would be 5 % over four
        assert f.p is not None
        assert f.needed is not None
        reached = stats.t.isf(f.p / 2, 20) * np.sqrt(f.needed)
        assert reached == pytest.approx(stats.t.isf(0.05 / 4 / 2, 20 * f.needed))
        assert "times as many topics and seeds would decide it among 4 rows." in f.reason
    assert found[3].needed is not None
    assert found[3].needed > 3.0
    assert found[3].word == f"inconclusive (needs × {found[3].needed:.1f})"
    assert found[0].needed is not None
    assert found[0].word == f"inconclusive (supported alone, needs × {np.ceil(10 * found[0].needed) / 10:.1f})"
