"""Adversarial rounds around a head, on texts whose quality is planted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from embrm import Features, Pairs, embedders, heads
from embrm.errors import DataError, OptionError
from embrm.training.adversarial import MUTATIONS, Rounds, Search, adversarial_rounds

GOOD = ["clear", "exact", "careful", "useful", "correct", "complete"]
BAD = ["vague", "wrong", "sloppy", "empty", "rude", "partial"]
PLAIN = ["the", "answer", "says", "that", "water", "stone", "tree", "road", "house", "river"]
HEAD = heads.get("mlp")(members=3, hidden=(16,), epochs=12)


def embed(prompts: Sequence[str], responses: Sequence[str]) -> Mapping[str, np.ndarray]:
    return {"joint": embedders.get("hashing")(dimension=96).embed(list(responses)).vectors}


@pytest.fixture(scope="module")
def texts() -> tuple[Pairs, list[str], list[str]]:
    rng = np.random.default_rng(0)
    prompts, responses, quality = [], [], []
    for p in range(40):
        for _ in range(4):
            good = int(rng.integers(0, 5))
            words = [*rng.choice(GOOD, good), *rng.choice(BAD, 4 - good), *rng.choice(PLAIN, 8)]
            order = rng.permutation(len(words))
            first, second = [words[i] for i in order[:6]], [words[i] for i in order[6:]]
            prompts.append(f"Question {p}?")
            responses.append(f"{' '.join(first)}. {' '.join(second)}.")
            quality.append(good)
    i = rng.integers(160, size=240)
    j = i // 4 * 4 + (i + rng.integers(1, 4, size=240)) % 4
    wins = np.array(quality)[i] > np.array(quality)[j]
    features = Features(
        embed(prompts, responses), prompt=np.repeat(np.arange(40), 4), length=np.array([len(r) for r in responses])
    )
    return Pairs(features, np.where(wins, i, j), np.where(wins, j, i)), prompts, responses


@pytest.fixture(scope="module")
def done(texts: tuple[Pairs, list[str], list[str]]) -> Rounds:
    pairs, prompts, responses = texts
    return adversarial_rounds(HEAD, pairs, prompts=prompts, responses=responses, embed=embed, seed=0)


def test_rounds_add_texts_that_beat_the_chosen_one_while_members_disagree(
    texts: tuple[Pairs, list[str], list[str]], done: Rounds
) -> None:
    pairs, prompts, responses = texts
    assert len(done.found) == 2
    assert len(done.models) == 3
    assert done.model is done.models[-1]
    count = sum(len(found) for found in done.found)
    assert count > 5
    assert len(done.pairs) == len(pairs) + count
    assert len(done.pairs.features) == len(pairs.features) + count
    first = done.found[0]
    scored = done.models[0].score(
        Features(embed([f.prompt for f in first], [f.response for f in first]), prompt=np.arange(len(first)))
    )
    known = done.models[0].score(pairs.features).centred()
    used = np.unique([pairs.chosen, pairs.rejected])
    np.testing.assert_allclose(scored.centred().mean, [f.reward for f in first], rtol=1e-4, atol=1e-5)
    z = (scored.centred().sd - known.sd[used].mean()) / known.sd[used].std()
    np.testing.assert_allclose(z, [f.disagreement for f in first], rtol=1e-3)
    for f in first:
        assert f.reward > f.chosen_reward
        assert f.disagreement > 1.96
        assert set(f.how) <= set(MUTATIONS)
        assert f.response not in responses
        assert f.prompt in prompts
    assert done.pairs.features.length is not None
    assert done.pairs.features.length[len(pairs.features)] == len(first[0].response)


def test_the_refitted_head_no_longer_prefers_what_was_found(done: Rounds) -> None:
    first = done.found[0]
    rows = slice(len(done.pairs) - sum(map(len, done.found)), len(done.pairs) - len(done.found[1]))
    w, l = done.pairs.chosen[rows], done.pairs.rejected[rows]  # noqa: E741
    before, after = (m.score(done.pairs.features).mean for m in (done.models[0], done.model))
    assert len(first) == len(w)
    assert np.all(before[l] > before[w])
    assert np.mean(after[l] > after[w]) < 0.5


def test_pools_are_searched_too(texts: tuple[Pairs, list[str], list[str]]) -> None:
    pairs, prompts, responses = texts
    # The identity alone finds nothing, as every chosen response is known; what is found comes from the pool.
    search = Search(mutations={"same": lambda prompt, response, rng: response}, threshold=-10.0, steps=1)
    pool = {prompt: [" ".join([*GOOD[k:], *GOOD[:k], prompt]) for k in range(6)] for prompt in prompts}
    asked: dict[str, Any] = {"prompts": prompts, "responses": responses, "embed": embed, "seed": 0, "rounds": 1}
    found = adversarial_rounds(HEAD, pairs, search=replace(search, pool=pool), **asked)
    assert len(found.found[0]) > 5
    assert {f.how for f in found.found[0]} == {("pool",)}
    none = adversarial_rounds(HEAD, pairs, search=search, **asked)
    assert none.found == ((),)
    assert none.model is none.models[0]
    assert none.pairs is pairs


@pytest.mark.parametrize("name", sorted(MUTATIONS))
def test_mutations_change_a_text_and_survive_an_odd_one(name: str) -> None:
    rng = np.random.default_rng(3)
    text = "First of all, rivers run. Then they meet the sea. At last they rest."
    assert MUTATIONS[name]("Where do rivers go?", text, rng) != text
    for odd in ("", "word", "...", "\n"):
        assert isinstance(MUTATIONS[name]("", odd, rng), str)


def test_what_rounds_refuse(texts: tuple[Pairs, list[str], list[str]]) -> None:
    pairs, prompts, responses = texts
    with pytest.raises(DataError, match="must have the 160 rows"):
        adversarial_rounds(HEAD, pairs, prompts=prompts[:-1], responses=responses, embed=embed, seed=0)
    with pytest.raises(OptionError, match="rounds must be >= 1"):
        adversarial_rounds(HEAD, pairs, prompts=prompts, responses=responses, embed=embed, seed=0, rounds=0)
    single = heads.get("mlp")(epochs=1)
    with pytest.raises(OptionError, match="pass members=5"):
        adversarial_rounds(single, pairs, prompts=prompts, responses=responses, embed=embed, seed=0)
    with pytest.raises(DataError, match="embed must give the views"):
        adversarial_rounds(
            HEAD,
            pairs,
            prompts=prompts,
            responses=responses,
            embed=lambda p, r: {"response": embed(p, r)["joint"]},
            seed=0,
        )
    with pytest.raises(OptionError, match="need a mutation"):
        Search(steps=0)
