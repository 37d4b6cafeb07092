"""Rewards inferred from tuned and base outputs, against the closed form of the tilt and an independent projection."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import nnls

from embrm import Candidates, Features, Pairs, demonstrations, heads, infer
from embrm.bestofn.tilt import tilted
from embrm.core.arrays import Array
from embrm.errors import DataError, OptionError
from embrm.heads.max_margin import Demonstrations, MaxMargin


def cosine(a: Array, b: Array) -> float:
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def planted_tilt(prompts: int, pool: int, width: int) -> tuple[Array, Array, Array]:
    """Return pools `(prompts, pool, width)`, a linear reward and π_base·exp(r)/Z `(prompts, pool)`."""
    rng = np.random.default_rng(4)
    x = rng.normal(size=(prompts, pool, width)) + rng.normal(size=(prompts, 1, width))
    theta = rng.normal(size=width) / 2
    return x, theta, tilted(np.zeros((prompts, pool)), x @ theta, 1.0)


def drawn(x: Array, chance: Array, n: int, seed: int) -> Candidates:
    """Return `n` outputs of a policy `(prompts, pool)` to each prompt."""
    rng = np.random.default_rng(seed)
    rows = [rng.choice(x.shape[1], size=n, p=p) for p in chance]
    taken = np.concatenate([x[p, r] for p, r in enumerate(rows)])
    return Candidates(Features({"joint": taken}, np.repeat(np.arange(len(x)), n)), np.arange(len(x) + 1) * n)


def test_maximum_entropy_over_whole_pools_gives_the_reward_itself() -> None:
    """With every comparison weighted by its probability under both policies the maximum is the planted reward."""
    x, theta, tuned = planted_tilt(30, 8, 4)
    first, second = (np.repeat(np.arange(8), 8), np.tile(np.arange(8), 8))
    apart = first != second
    starts = 8 * np.arange(30)[:, None]
    chosen, rejected = (starts + first[apart]).ravel(), (starts + second[apart]).ravel()
    weight = np.repeat(tuned, 8, axis=1)[:, apart].ravel() / 8  # π(y) π_base(y')
    features = Features({"joint": x.reshape(-1, 4)}, np.repeat(np.arange(30), 8))
    model = heads.get("linear")(prior_precision=1e-6).fit(Pairs(features, chosen, rejected, weight=weight), seed=0)
    np.testing.assert_allclose(model.arrays()["coefficients"][0], theta, rtol=1e-3)


def test_a_planted_reward_is_recovered_from_samples() -> None:
    x, theta, tuned = planted_tilt(600, 40, 8)
    uniform = np.full(tuned.shape, 1 / 40)
    pairs = demonstrations(drawn(x, tuned, 8, 0), drawn(x, uniform, 8, 1), seed=0)
    assert len(pairs) > 0.9 * 600 * 8 * 4
    found = infer(pairs, seed=0)
    mean = np.mean([model.arrays()["coefficients"][0] for model in found.model.children().values()], axis=0)
    assert cosine(mean, theta) > 0.99
    np.testing.assert_allclose(np.linalg.norm(mean), np.linalg.norm(theta), rtol=0.15)  # in nats, size and all
    assert found.agreement > 0.8
    assert found.kept.sum() == len(found.model.children())
    truth = x.reshape(-1, 8) @ theta
    margin_model = infer(pairs, head="max_margin", restarts=3, seed=0).model
    assert np.corrcoef(margin_model.score(x.reshape(-1, 8)).mean, truth)[0, 1] > 0.9


def test_explained_is_the_held_out_likelihood_and_the_best_are_kept() -> None:
    x, _, tuned = planted_tilt(60, 20, 5)
    pairs = demonstrations(drawn(x, tuned, 4, 0), drawn(x, np.full(tuned.shape, 1 / 20), 4, 1), seed=0)
    found = infer(pairs, head=heads.get("mlp")(epochs=3), restarts=3, seed=1)
    held = pairs.split(0.2, seed=1)[1]
    losses = []
    for model in found.model.children().values():
        reward = model.score(held.features).mean
        nll = np.log1p(np.exp(reward[held.rejected] - reward[held.chosen]))
        losses.append(np.mean([np.mean(nll[held.prompt == p]) for p in np.unique(held.prompt)]))
    np.testing.assert_allclose(np.log(2) - np.array(losses), found.explained[found.kept], rtol=1e-5)
    assert found.kept[found.explained.argmax()]
    assert found.model.record["inferred"]["kept"] == found.kept.sum()


def test_the_margin_is_the_distance_to_the_hull_of_all_policies() -> None:
    """The projection's last margin, against a search over mixtures of every deterministic policy of a small problem."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(4, 3, 2))
    features = Features({"joint": x.reshape(-1, 2)}, np.repeat(np.arange(4), 3))
    chosen, rejected = np.repeat(3 * np.arange(4), 2), np.delete(np.arange(12), 3 * np.arange(4))
    pairs = Pairs(features, chosen, rejected)
    scaled = x / x.reshape(-1, 2).std(axis=0)
    expert = 4 * scaled[:, 0].mean(axis=0)  # outside the hull: farther than any policy goes
    policies = [scaled[np.arange(4), list(np.ndindex(3, 3, 3, 3))[i]].mean(axis=0) for i in range(81)]

    system = np.vstack([np.array(policies).T, np.full(81, 1e4)])  # the last row holds the shares' sum at 1
    share = nnls(system, np.append(expert, 1e4))[0]
    nearest = np.linalg.norm(expert - share @ np.array(policies))
    shown = Demonstrations.of(features.rows("joint"), pairs, scale=x.reshape(-1, 2).std(axis=0))
    np.testing.assert_allclose(shown.chosen, scaled[:, 0].mean(axis=0), rtol=1e-5)
    margins = [m for _, m in MaxMargin(iterations=300).rewards(shown._replace(chosen=expert), shown.rejected)]
    assert (np.diff(margins) <= 1e-12).all()
    np.testing.assert_allclose(margins[-1], nearest, rtol=1e-3)


def test_outputs_that_explain_nothing_are_refused() -> None:
    x, _, tuned = planted_tilt(5, 6, 3)
    outputs = drawn(x, tuned, 3, 0)
    with pytest.raises(DataError, match="the tuned outputs are the base outputs, prompt by prompt, so that no reward"):
        demonstrations(outputs, outputs.take([4, 3, 2, 1, 0]), seed=0)
    with pytest.raises(
        DataError, match=r"must answer the same prompts: 0 of 4 tuned.*and 1 of 5 base prompts no tuned"
    ):
        demonstrations(outputs.take([0, 1, 2, 3]), outputs, seed=0)
    other = Candidates(Features({"response": np.ones((5, 3))}, np.arange(5)), np.arange(6))
    with pytest.raises(DataError, match="need the same views, got joint and response"):
        demonstrations(outputs, other, seed=0)
    with pytest.raises(OptionError, match="per_output must be >= 1"):
        demonstrations(outputs, outputs, per_output=0, seed=0)
    with pytest.raises(OptionError, match="restarts must be >= 2"):
        infer(demonstrations(outputs, drawn(x, tuned, 3, 1), seed=0), restarts=1, seed=0)
    with pytest.raises(OptionError, match="members and iterations must be >= 1"):
        heads.get("max_margin")(iterations=0)
    with pytest.raises(OptionError, match="tolerance must be > 0"):
        heads.get("max_margin")(tolerance=0.0)
