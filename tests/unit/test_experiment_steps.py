"""Traces of the world, and the experiment on step rewards."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from embrm.errors import OptionError
from embrm.study.datasets import Dataset, DatasetConfig, open_dataset
from embrm.study.experiments import ExperimentSetting, get
from embrm.world import Mechanism, World
from embrm.world.judge import WorldGold
from embrm.world.steps import StepWriter, steps_of

SMALL = {"topics": 8, "stock": 60, "pool": 4, "stratum": 2, "refinements": 0}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMBRM_CACHE", str(tmp_path_factory.mktemp("cache")))
        return open_dataset(DatasetConfig(name="fast", kind="fast", embedder="hashing", options=SMALL))


def test_sentences_are_steps_and_after_a_wrong_one_nothing_is_right() -> None:
    world = World.load()
    gold = WorldGold(world)
    written = world.sample(200, seed=0)
    wrong = world.attributes.index("wrong")
    for text, counts in zip(written.texts, written.counts, strict=True):
        steps, right = steps_of(gold, text)
        assert " ".join(steps) == text
        assert right[-1] == (counts[wrong] == 0)
        assert (np.diff(right.astype(int)) <= 0).all()
        for j in range(len(steps)):
            assert right[j] == (world.read(" ".join(steps[: j + 1]))[wrong] == 0)


def test_responses_written_step_by_step_are_those_of_the_world() -> None:
    world, length = World.load(), 3
    writer, rng = StepWriter(world, length), np.random.default_rng(0)
    names = [name for name in world.attributes if name != "list_marker"]
    chances = [world.reference[world.attributes.index(name)] for name in names]
    drawn = np.stack([rng.choice(len(p), size=40_000, p=p) for p in chances], axis=1)
    drawn = drawn[drawn.sum(axis=1) == length]
    expected = Counter(map(tuple, drawn.tolist()))
    found: Counter[tuple[int, ...]] = Counter()
    texts = [set(world.spec.styles.get(name) or getattr(world.spec.topics[3], name)) for name in names]
    for _ in range(800):
        steps = writer.response(3, rng=rng)
        assert len(set(steps)) == length
        found[tuple(sum(step in known for step in steps) for known in texts)] += 1
    for counts, times in expected.most_common(4):
        share = times / len(drawn)
        assert abs(found[counts] / 800 - share) < 4 * np.sqrt(share / 800) + 0.01
    with pytest.raises(OptionError, match=r"sentences must be inside 1\.\.\d+, got 0"):
        StepWriter(world, 0)


def test_the_experiment_measures_what_is_chosen(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBRM_CACHE", str(tmp_path / "cache"))
    recipe = get("steps")(pool=6, sentences=3, candidates=3)
    setting = ExperimentSetting(data, Mechanism(), 0.25, 200, 0)
    found, again = recipe.measure(setting), recipe.measure(setting)
    assert set(found) == {"min", "product", "last", "mean", "max", "outcome", "random", "whole", "search"}
    for name, measured in found.items():
        np.testing.assert_array_equal(measured.values, again[name].values)
        assert len(measured.values) == 16  # eight topics in the two wordings that were not trained on
        assert np.isin(measured.values, (0, 1)).all() or name == "random"
        assert len(np.unique(measured.clusters)) == 8
    assert 0.3 < found["random"].values.mean() < 0.9
    with pytest.raises(OptionError, match="width must be >= 1, got 0"):
        get("steps")(width=0)
