"""The experiments of a study on principles and on self-training, on a tiny world."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embrm.core.data import Pairs
from embrm.data.encode import under
from embrm.embedders import Embedder
from embrm.errors import OptionError, UnknownNameError
from embrm.heads import Head
from embrm.study.datasets import open_dataset
from embrm.study.datasets.world import WorldData
from embrm.study.experiments import Experiment, ExperimentSetting
from embrm.study.experiments.principle import PrincipleAdded
from embrm.study.experiments.self_training import UnlabelledPairs
from embrm.study.measures.gold import gold_at
from embrm.study.schema import DatasetConfig
from embrm.world import Mechanism
from embrm.world.principles import find_principle, told_pairs
from embrm.world.shipped import joint_texts

TINY = {"topics": 6, "stock": 48, "pool": 8, "refinements": 0}
LINEAR = Head.of({"name": "linear", "options": {"prior_precision": 100.0}})


@pytest.fixture(scope="module")
def setting(tmp_path_factory: pytest.TempPathFactory) -> ExperimentSetting:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EMBRM_CACHE", str(tmp_path_factory.mktemp("cache")))
        config = DatasetConfig(
            name="tiny", kind="fast", embedder="hashing", embedder_options={"dimension": 64}, options=TINY
        )
        data = replace(open_dataset(config), exact=True)  # so few prompts are reliable nowhere
        return ExperimentSetting(data, Mechanism(bias=1), 0.0, 200, 0)


def test_gold_under_a_principle_is_that_of_the_path_of_the_reward_under_it(setting: ExperimentSetting) -> None:
    found = PrincipleAdded(head=LINEAR, kl=0.3).measure(setting)
    data, head = setting.data, replace(LINEAR, view="joint+principle")
    assert isinstance(data, WorldData)
    assert found.keys() == {"plain", "told", "held_out", "negation"}
    pairs = told_pairs(data.world, setting.mechanism, embedder=data.embedder(), flips=0.0, pairs=200, seed=0)
    model, golds = head.fit(pairs, seed=0), []
    for text in find_principle("no-flattery").held_out:
        asked = under(model, text, embedder=data.embedder())
        path = data.world.proposal_pool(asked.score(data.features).mean).path()  # the world's own way
        golds.append([np.interp(0.3, path.kl.mean(axis=1), gold) for gold in path.gold.T])
    np.testing.assert_allclose(found["held_out"].values, np.mean(golds, axis=0), atol=0.02)
    np.testing.assert_array_equal(found["plain"].clusters, data.world.layout.prompts[:, 0])


def test_gold_beyond_what_is_reliable_is_not_there(setting: ExperimentSetting) -> None:
    value = np.random.default_rng(0).normal(size=len(setting.data.features))
    assert np.isnan(gold_at(setting.data, value, kl=50.0)).all()


def test_pairs_under_principles_are_those_of_the_same_seed_with_other_labels(setting: ExperimentSetting) -> None:
    data = setting.data
    assert isinstance(data, WorldData)
    plain = setting.training()
    told = told_pairs(data.world, setting.mechanism, embedder=data.embedder(), flips=0.0, pairs=200, seed=0)
    x = told.features.matrix("joint").reshape(200, 2, -1)
    own = plain.features.matrix("joint")[np.stack([plain.chosen, plain.rejected], axis=1)]
    same = (x == own).all(axis=(1, 2))
    np.testing.assert_array_equal(x[~same], own[~same][:, ::-1])  # turned round
    assert 0.2 < same.mean() < 0.95


@pytest.mark.slow
def test_accuracies_with_unlabelled_pairs(
    setting: ExperimentSetting, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EMBRM_CACHE", str(tmp_path))
    other = Embedder.of({"name": "hashing", "options": {"dimension": 32}})
    asked = UnlabelledPairs(head=LINEAR, second=other.config(), unlabelled=100, each=4)
    found = asked.measure(replace(setting, mechanism=Mechanism(), pairs=60))
    data = setting.data
    assert isinstance(data, WorldData)
    pairs, texts = data.tests["in"], data.world.responses
    prompts = np.unique(pairs.prompt)
    assert found.keys() == {"labels", "plain", "consistent"}
    for each in found.values():
        np.testing.assert_array_equal(each.clusters, prompts // data.world.wordings)
    # Of the labels alone: each of the two heads by itself, the mean of their rewards, and the first pairs by hand.
    labels = data.train(mechanism=Mechanism(), flips=0.0, pairs=160, seed=0).take(np.arange(60))
    rewards = [LINEAR.fit(labels, seed=0).score(data.features).mean]
    x, y = (other.embed(joint_texts(texts[split])).vectors for split in ("training", "pools"))
    rewards.append(
        LINEAR.fit(Pairs.from_arrays(x, chosen=labels.chosen, rejected=labels.rejected), seed=0).score(y).mean
    )
    right = sum(rewards)[pairs.chosen] > sum(rewards)[pairs.rejected]  # type: ignore[index]
    by_hand = [right[pairs.prompt == prompt][:4].mean() for prompt in prompts]
    np.testing.assert_allclose(found["labels"].values, by_hand, atol=0.13)  # one pair in eight may be a near tie
    assert np.mean(np.abs(found["labels"].values - by_hand)) < 0.01


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(UnknownNameError, match="no principle named 'no-flatery'"):
        PrincipleAdded(principle="no-flatery")
    with pytest.raises(OptionError, match="kl must be > 0 nats, got 0"):
        PrincipleAdded(kl=0)
    with pytest.raises(OptionError, match="unlabelled and each must be >= 1, got 0 and 16"):
        UnlabelledPairs(unlabelled=0)
    with pytest.raises(UnknownNameError, match="no embedder named 'hashin'"):
        Experiment.of({"name": "self_training", "options": {"second": {"name": "hashin"}}})
