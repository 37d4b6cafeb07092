"""Retrieval: against a vote written out, its abstentions, and the evidence that it shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from embrm import Pairs, heads, load_model
from embrm.core.arrays import Array
from embrm.errors import DataError, OptionError
from embrm.heads import FittedRetrieval
from embrm.heads.retrieval import Retrieval
from tests.planted import planted

SEVERAL = [{}, {"neighbours": 7}, {"neighbours": 40, "bandwidth": 1.5, "prior": 0.2}]


def fitted(pairs: Pairs, **options: object) -> FittedRetrieval:
    model = Retrieval(**options).fit(pairs, seed=0)  # type: ignore[arg-type]
    assert isinstance(model, FittedRetrieval)
    return model


def unlike(pairs: Pairs, n: int = 6) -> Array:
    """Texts far away from all others."""
    x = pairs.features.matrix("joint")
    return np.asarray(x.mean(axis=0) + 60 * np.random.default_rng(0).normal(size=(n, x.shape[1])))


def votes_by_hand(x: Array, pairs: Pairs, *, width: float, count: int) -> tuple[Array, Array]:
    """Relevance and vote of every comparison for one text `x (d,)`."""
    relevance, vote, far = (np.zeros(len(pairs)) for _ in range(3))
    texts = pairs.features.matrix("joint").astype(np.float64)
    mean, sd = texts[pairs.rows].mean(axis=0), texts[pairs.rows].std(axis=0)
    texts, x = (texts - mean) / sd, (x - mean) / sd
    for i in range(len(pairs)):
        won, lost = texts[pairs.chosen[i]], texts[pairs.rejected[i]]
        far[i] = min(((x - won) ** 2).sum(), ((x - lost) ** 2).sum())
        vote[i] = np.clip(2 * (x - (won + lost) / 2) @ (won - lost) / ((won - lost) ** 2).sum(), -1, 1)
        if pairs.tie is not None and pairs.tie[i]:
            vote[i] = 0
        relevance[i] = np.exp(-far[i] / (2 * width**2))
    relevance[far > np.sort(far)[min(count, len(far)) - 1]] = 0  # those as near as the last one vote too
    return relevance, vote


@pytest.mark.parametrize("options", SEVERAL)
def test_the_reward_is_a_vote_written_out(options: dict[str, object]) -> None:
    pairs, _ = planted(prompts=12, responses=6, width=5, pairs=90)
    rng = np.random.default_rng(3)
    pairs = replace(pairs, weight=rng.uniform(0.2, 2, size=90), tie=rng.random(90) < 0.2)
    model = fitted(pairs, threshold=0.0, **options)
    new = rng.normal(size=(25, 5))
    sums = []
    weight = pairs.weight / pairs.weight.mean()  # type: ignore[union-attr]
    for x in new:
        a, vote = votes_by_hand(x, pairs, width=model.record["width"], count=model.record["count"])
        sums.append((a * weight) @ vote / (model.head.options()["prior"] + (a * weight).sum()))
    found = model.score(new).mean
    slope = model.record["slope"]
    np.testing.assert_allclose(found - found[0], slope * (np.array(sums) - sums[0]), atol=1e-3 * found.std())
    used = model.score(pairs.features.take(np.concatenate([pairs.chosen, pairs.rejected])))
    np.testing.assert_allclose(used.mean.mean(), 0, atol=1e-5)  # a mean training text has reward 0


def test_at_a_training_text_its_own_comparison_is_fully_relevant_and_votes_fully() -> None:
    pairs, _ = planted(prompts=20, responses=4, pairs=60)
    model = fitted(pairs)
    for rows, vote in ((pairs.chosen, 1.0), (pairs.rejected, -1.0)):
        for i, evidence in enumerate(model.evidence(pairs.features.take(rows), most=60)):
            (own,) = [v for v in evidence.votes if v.pair == i]
            np.testing.assert_allclose([own.relevance, own.vote], [1, vote], atol=1e-4)


def test_it_abstains_far_away_with_a_mean_reward_as_uncertain_as_any() -> None:
    pairs, _ = planted(pairs=300)
    model, far = fitted(pairs), unlike(pairs)
    assert not model.abstains(pairs.features.take(pairs.rows)).any()
    assert model.abstains(far).all()
    assert all(evidence.abstains for evidence in model.evidence(far))
    usual, reward = model.score(pairs.features.take(pairs.rows)), model.score(far)
    np.testing.assert_allclose(reward.mean, 0, atol=1e-9)
    np.testing.assert_allclose(reward.sd, reward.sd[0])  # the same for every such text, whatever it is
    np.testing.assert_allclose(reward.sd, usual.mean.std(), rtol=0.1)
    assert np.quantile(usual.sd, 0.9) < reward.sd[0]
    difference = reward.draws[:, 0] - reward.draws[:, 1]
    assert difference.std() > 0.5 * reward.sd[0]  # nor is anything known of which of two is better
    never = fitted(pairs, threshold=0.0)
    assert not never.abstains(far).any()
    np.testing.assert_allclose(never.score(far).mean, never.score(far).mean[0], atol=1e-6)  # κ outweighs all votes


def test_one_in_a_hundred_texts_of_new_prompts_is_not_judged() -> None:
    pairs, _ = planted(prompts=200, responses=5, pairs=1500)
    model = fitted(pairs.take(pairs.prompt < 100))
    x = pairs.features.matrix("joint")[500:]
    assert 0 < model.abstains(x).mean() < 0.04
    strict = fitted(pairs.take(pairs.prompt < 100), threshold=0.9)
    assert strict.abstains(x).mean() > 0.9


def test_draws_are_those_of_a_bayesian_bootstrap() -> None:
    """Their spread is what refits to reweighted comparisons have; the random function adds the prior's share."""
    pairs, _ = planted(prompts=30, pairs=400)
    model = fitted(pairs, draws=400, prior=1e-9, threshold=0.0, neighbours=60)
    x = planted(seed=0, prompts=30)[0].features.matrix("joint")[:12]
    rng, slope, width = np.random.default_rng(0), model.record["slope"], model.record["width"]
    sums = []
    for row in x:
        a, vote = votes_by_hand(row, pairs, width=width, count=60)
        w = a * rng.dirichlet(np.ones(len(pairs)), size=500)
        sums.append(((w @ vote) / w.sum(axis=1)).std())
    np.testing.assert_allclose(model.score(x).sd, slope * np.array(sums), rtol=0.25)


def test_explanations_are_made_of_the_comparisons_that_voted(tmp_path: object) -> None:
    pairs, _ = planted(pairs=200)
    kept = replace(pairs, weight=np.where(np.arange(200) % 5 == 0, 0.0, 1.0))
    train, new = kept, pairs.take(np.arange(190, 200))
    model = fitted(train)
    model.save(f"{tmp_path}/model")
    loaded = load_model(f"{tmp_path}/model")
    for fit in (model, loaded):
        for i, explanation in enumerate(fit.explain(new, training=train, neighbours=200)):
            shares = [n.share for n in explanation.neighbours if n.share is not None]
            assert len(shares) == 200
            np.testing.assert_allclose(sum(shares), explanation.margin, atol=1e-4)
            assert np.all(np.diff(np.abs(shares)) <= 1e-12)
            if i % 5:  # it was trained on, and is its own best evidence, or a pair of the same two texts is
                np.testing.assert_allclose(abs(explanation.neighbours[0].similarity), 1)
            assert all(n.share == 0 for n in explanation.neighbours if n.pair % 5 == 0)
            assert explanation.abstains == (False, False)
    far = unlike(pairs, 2)
    both = np.concatenate([pairs.features.matrix("joint"), far])
    m = len(pairs.features)
    features = replace(pairs.features, views={"joint": both}, prompt=np.r_[pairs.features.prompt, 0, 0], length=None)
    prompt = np.flatnonzero(pairs.features.prompt == 0)
    (half, none) = model.explain(Pairs(features, np.array([prompt[0], m]), np.array([m, m + 1])), training=train)
    assert (half.abstains, none.abstains) == ((False, True), (True, True))
    assert [n.share for n in none.neighbours] == [0] * 5
    with pytest.raises(DataError, match="was trained on 200 pairs, got 100"):
        model.explain(new, training=pairs.take(np.arange(100)))
    with pytest.raises(OptionError, match="most must be >= 1"):
        model.evidence(pairs.features, most=0)


def test_the_neighbours_that_it_chooses_are_the_best_on_held_out_prompts() -> None:
    pairs, _ = planted(prompts=200, pairs=1500, flips=0.3)
    noisy = fitted(pairs)
    assert noisy.record["count"] >= 512  # noise asks for many
    assert fitted(pairs, neighbours=32).record["count"] == 32


def test_of_one_prompt_everything_is_relevant() -> None:
    pairs, _ = planted(prompts=1, responses=30, pairs=60)
    with pytest.warns(UserWarning, match="all pairs belong to one prompt"):
        model = fitted(pairs)
    assert model.record["threshold"] == 0
    assert np.isfinite(model.score(pairs.features).draws).all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"neighbours": 0}, "neighbours must be >= 1"),
        ({"bandwidth": 0.0}, "bandwidth and prior must be > 0"),
        ({"prior": -1.0}, "bandwidth and prior must be > 0"),
        ({"threshold": 1.0}, "threshold must be inside"),
        ({"draws": 3}, "draws must be even"),
        ({"validation_fraction": 1.0}, "validation_fraction must be inside"),
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        heads.get("retrieval")(**options)


def test_a_damaged_model_is_refused() -> None:
    pairs, _ = planted(prompts=10, pairs=40)
    model = fitted(pairs)
    state = model.state()
    wrong = replace(state, arrays={**state.arrays, "chosen": state.arrays["chosen"] + 10_000})
    with pytest.raises(DataError, match="comparisons must be of rows"):
        model.head.restore(wrong)
