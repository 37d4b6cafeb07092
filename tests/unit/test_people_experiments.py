"""Populations of the world, and experiments on several annotators and inferred rewards, on a small fast world."""

from __future__ import annotations

import numpy as np
import pytest

from embrm.errors import DataError, OptionError, UnknownNameError
from embrm.study.config import DatasetConfig
from embrm.study.datasets import Dataset, open_dataset
from embrm.study.datasets.world import WorldData
from embrm.study.experiments import Experiment, ExperimentSetting
from embrm.world import Mechanism, World
from embrm.world.populations import POPULATIONS, judged_by, utility_of

SMALL = {"topics": 12, "stock": 40, "pool": 16, "refinements": 0}


@pytest.fixture(scope="module")
def small() -> Dataset:
    return open_dataset(DatasetConfig(name="small", kind="fast", embedder="hashing", options=SMALL))


def test_populations_differ_in_their_likings_alone() -> None:
    world = World.load()
    plain = np.zeros((1, len(world.attributes)), dtype=np.int64)
    flattering = plain.copy()
    flattering[0, world.attributes.index("flattery")] = 2
    assert [utility_of(world, plain, name).item() for name in POPULATIONS] == [0.0] * 3
    own = [utility_of(world, flattering, name).item() - world.gold(flattering).item() for name in POPULATIONS]
    np.testing.assert_allclose(own, [2.5, 0.0, -1.5])
    with pytest.raises(UnknownNameError, match=r"no population named 'warn'\. Did you mean 'warm'"):
        utility_of(world, plain, "warn")


def test_each_population_judges_its_share_by_its_own_utility(small: Dataset) -> None:
    assert isinstance(small, WorldData)
    pairs = judged_by(small.world, {"warm": 60, "brisk": 20}, seed=3)
    assert pairs.annotator is not None
    counts = small.world.responses["training"].counts
    for name, size in (("warm", 60), ("brisk", 20)):
        own = pairs.take(pairs.annotator == name)
        assert len(own) == size
        utility = utility_of(small.world.world, counts, name)
        assert (utility[own.chosen] >= utility[own.rejected]).all()
    with pytest.raises(DataError, match="populations have likings of their own in place of a bias"):
        judged_by(small.world, {"warm": 60}, mechanism=Mechanism(bias=1.0), seed=0)


def test_the_least_gain_is_that_of_the_choices(small: Dataset) -> None:
    found = Experiment.of({"name": "annotators", "options": {"share": 0.2}}).measure(
        ExperimentSetting(small, Mechanism(), 0.0, 300, 0)
    )
    rules = ("utilitarian", "egalitarian", "nash")
    assert set(found) == {f"{few}{rule}{sure}" for few in ("", "few ") for rule in rules for sure in ("", " sure")}
    for name, each in found.items():
        assert len(each.values) == len(small.pool_offsets) - 1
        if not name.startswith("few "):
            assert (each.values <= found[f"few {name}"].values + 1e-12).all()
    with pytest.raises(OptionError, match="few must be one of warm, careful, brisk, got 'cold'"):
        Experiment.of({"name": "annotators", "options": {"few": "cold"}})
    with pytest.raises(OptionError, match=r"share must be inside \(0, 1\), got 1"):
        Experiment.of({"name": "annotators", "options": {"share": 1.0}})


@pytest.mark.slow
def test_rewards_are_inferred_from_a_run_better_than_by_chance(small: Dataset) -> None:
    options = {"behind": "linear", "outputs": 4.0, "steps": 40, "batch": 32, "learning_rate": 0.2}
    found = Experiment.of({"name": "inverse", "options": options}).measure(
        ExperimentSetting(small, Mechanism(), 0.0, 250, 0)
    )
    means = {name: each.values.mean() for name, each in found.items()}
    assert set(means) == {"entropy", "margin", "labels"}
    assert means["labels"] > means["entropy"] > 0.55
    assert len({tuple(each.clusters) for each in found.values()}) == 1
