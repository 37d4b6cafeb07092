"""A reward model at work in the world; hashed vectors, so that no model has to be loaded."""

from dataclasses import dataclass

import numpy as np
import pytest

from embrm import embedders, heads
from embrm.errors import DataError
from embrm.heads import FittedHead
from embrm.world import Mechanism, World
from embrm.world.runs import path_rows, rewarded_by, scored_pool
from embrm.world.sampling import pair_rows, response_rows
from embrm.world.shipped import Shipped, load


@dataclass(frozen=True)
class Setting:
    data: Shipped
    model: FittedHead


@pytest.fixture(scope="module")
def setting() -> Setting:
    data = load("hashing")
    return Setting(data, heads.get("linear")().fit(data.preferences(Mechanism(bias=1), pairs=500, seed=0), seed=0))


def test_reward_of_fresh_texts_is_that_of_the_stored_ones(setting: Setting) -> None:
    written = setting.data.responses["pools"]
    reward = rewarded_by(setting.model, embedders.get("hashing")())
    fresh = np.asarray(reward(written.prompts[:64], written.texts[:64]))
    stored = setting.model.score(setting.data.features["pools"].take(np.arange(64))).centred().mean
    # What is left is the rounding of the stored vectors, 6 % of their length.
    assert np.corrcoef(fresh, stored)[0, 1] > 0.98


@pytest.mark.slow
def test_refining_a_shipped_pool_extends_its_reach(setting: Setting) -> None:
    first = scored_pool(setting.model, setting.data)
    more = scored_pool(setting.model, setting.data, embedder=embedders.get("hashing")(), refine=4, rounds=2, seed=1)
    assert more.counts.shape == (*(first.counts.shape[0], first.counts.shape[1] + 8), 8)
    np.testing.assert_allclose(more.gold, setting.data.world.gold(more.counts.reshape(-1, 8)).reshape(more.gold.shape))
    rows = path_rows(first.path())
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-9)
    assert [row["reliable"] for row in rows] == [row["ess"] >= 400 and row["bias"] <= 0.05 for row in rows]


def test_refining_needs_an_embedder(setting: Setting) -> None:
    with pytest.raises(DataError, match="refining the pool embeds new texts; give the model's embedder"):
        scored_pool(setting.model, setting.data, refine=4)


def test_rows_for_files_tell_the_truth() -> None:
    world = World.load()
    rows = response_rows(world, 30, seed=0)
    assert rows == response_rows(world, 30, seed=0)
    for row in rows:
        counts = world.read(row["response"])
        assert row["counts"] == {n: int(c) for n, c in zip(world.attributes, counts, strict=True) if c}
        assert row["gold"] == pytest.approx(world.gold(counts[None])[0])
    fair, _ = pair_rows(world, 200, mechanism=Mechanism(), flips=0, seed=0)
    assert all(row["gold_chosen"] >= row["gold_rejected"] for row in fair)
    flipped, _ = pair_rows(world, 200, mechanism=Mechanism(), flips=0.25, seed=0)
    turned = [a["chosen"] != b["chosen"] for a, b in zip(fair, flipped, strict=True)]
    assert 0.15 < np.mean(turned) < 0.35
