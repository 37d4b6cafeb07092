"""Experts: a gate that reads the prompt alone, and finds clusters of prompts that want different things."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from embrm import Features, Pairs, heads, load_model
from embrm.core.arrays import Array, IntArray
from embrm.errors import DataError, OptionError
from embrm.heads.experts import Experts, FittedExperts


def clusters(seed: int = 0, *, groups: int = 3, prompts: int = 150, each: int = 8) -> tuple[Pairs, Array, IntArray]:
    """Pairs of prompts in clusters, each of which wants a direction of its own; the reward, and the clusters."""
    truth, rng = np.random.default_rng(7), np.random.default_rng(seed)
    centre, wants = 2 * np.eye(6)[:groups], 2 * truth.normal(size=(groups, 6))
    group = rng.integers(groups, size=prompts)
    prompt = np.repeat(np.arange(prompts), each)
    p = (centre[group] + 0.3 * rng.normal(size=(prompts, 6)))[prompt]
    r = rng.normal(size=(len(prompt), 6))
    reward = np.einsum("nd,nd->n", r, wants[group[prompt]])
    i, j = (rng.integers(each, size=(2, prompts, 20)) + each * np.arange(prompts)[:, None]).reshape(2, -1)
    i, j = i[i != j], j[i != j]
    wins = rng.random(len(i)) < 1 / (1 + np.exp(reward[j] - reward[i]))
    features = Features({"prompt": p, "response": r}, prompt=prompt, length=np.full(len(p), 9.0))
    return Pairs(features, np.where(wins, i, j), np.where(wins, j, i)), reward, group[prompt]


def accuracy(model: heads.FittedHead, pairs: Pairs, reward: Array) -> float:
    found = model.score(pairs.features).mean
    i, j = pairs.chosen, pairs.rejected
    return float(np.mean((found[i] > found[j]) == (reward[i] > reward[j])))


def test_the_gate_recovers_planted_clusters_and_beats_one_network_of_equal_size() -> None:
    pairs, _, _ = clusters(1)
    view = "prompt+response"
    model = Experts(view=view, experts=3, hidden=8, epochs=60, learning_rate=1e-2).fit(pairs, seed=0)
    one = heads.get("mlp")(view=view, hidden=(24,), epochs=60, learning_rate=1e-2).fit(pairs, seed=0)
    assert isinstance(model, FittedExperts)
    new, reward, group = clusters(101)
    gate = model.gate(new.features)[0]
    np.testing.assert_allclose(gate.sum(axis=1), 1, rtol=1e-5)
    table = np.stack([np.bincount(gate.argmax(axis=1)[group == g], minlength=3) for g in range(3)])
    assert sorted(table.argmax(axis=1)) == [0, 1, 2]  # an expert for each cluster
    assert table.max(axis=1).sum() / table.sum() > 0.98
    assert accuracy(model, new, reward) > accuracy(one, new, reward)
    assert model.record["experts_of_a_text"][0] < 2.2  # of three


@pytest.mark.parametrize(
    ("view", "width", "expected"),
    [
        ("prompt+response", 8, slice(0, 4)),
        ("length+response+prompt", 9, slice(5, 9)),
        ("prompt+length+joint", 9, slice(0, 4)),
        ("crossed", 12, slice(0, 4)),
        ("length+crossed", 13, slice(1, 5)),
        ("prompt", 4, slice(0, 4)),
        ("joint", 4, slice(0, 4)),
    ],
)
def test_the_gate_reads_the_prompt_s_columns_alone(view: str, width: int, expected: slice) -> None:
    assert Experts(view=view).prompt_columns(width) == expected
    rng = np.random.default_rng(0)
    x = {name: rng.normal(size=(40, 4)).astype(np.float32) for name in ("prompt", "response", "joint")}
    features = Features(x, prompt=np.repeat(np.arange(10), 4), length=np.arange(40) + 1.0)
    pairs = Pairs(features, np.arange(0, 40, 2), np.arange(1, 40, 2))
    model = Experts(view=view, experts=2, hidden=3, epochs=4, learning_rate=0.1, patience=0).fit(pairs, seed=0)
    assert isinstance(model, FittedExperts)
    before = model.gate(features)
    moved = replace(features, views={**x, "response": x["response"] + 1, "joint": x["joint"] + (view != "joint")})
    np.testing.assert_allclose(model.gate(moved), before, atol=1e-6)
    turned = model.gate(replace(features, views={name: -a for name, a in x.items()}))
    assert np.abs(turned - before).max() > 1e-3


def test_gates_are_saved_and_members_have_their_own(tmp_path: object) -> None:
    pairs, _, _ = clusters(prompts=20)
    model = Experts(view="crossed", members=2, epochs=2).fit(pairs, seed=0)
    model.save(f"{tmp_path}/model")
    loaded = load_model(f"{tmp_path}/model")
    assert isinstance(model, FittedExperts)
    assert isinstance(loaded, FittedExperts)
    gate = model.gate(pairs.features)
    assert gate.shape == (2, len(pairs.features), 4)
    np.testing.assert_allclose(loaded.gate(pairs.features), gate, rtol=1e-5)


def test_one_expert_is_the_network_of_one_hidden_layer() -> None:
    pairs, _, _ = clusters(prompts=20)
    model = Experts(view="response", experts=1, hidden=8, epochs=2).fit(pairs, seed=0)
    x = pairs.features.matrix("response")
    p = model.arrays()
    h = x @ p["input.weight"][0, :, :8] + p["input.bias"][0, :8]
    from scipy.special import ndtr

    np.testing.assert_allclose(
        model.score(pairs.features).draws[0], (h * ndtr(h)) @ p["reward.weight"][0, :, 0], rtol=1e-4, atol=1e-5
    )


def test_what_is_refused() -> None:
    with pytest.raises(OptionError, match="experts and hidden must be >= 1"):
        Experts(experts=0)
    with pytest.raises(DataError, match="embed them with one embedder"):
        Experts(view="prompt+joint").prompt_columns(7)
    x = {"prompt": np.ones((4, 2)), "joint": np.eye(4)}
    pairs = Pairs(Features(x, prompt=np.array([0, 0, 1, 1])), np.array([0, 2]), np.array([1, 3]))
    with pytest.raises(DataError, match="vectors of one width"):
        Experts(view="prompt+joint").fit(pairs, seed=0)
