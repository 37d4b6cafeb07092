"""Samples of the world made on the spot; hashed vectors and few texts, so that none takes long."""

from dataclasses import replace

import numpy as np
import pytest

from embrm import embedders, heads
from embrm.errors import DataError, OptionError
from embrm.study.datasets import identify, open_dataset
from embrm.study.datasets.fast import FastData
from embrm.study.schema import DatasetConfig
from embrm.world import Mechanism, World
from embrm.world.fresh import Fresh, FreshSize, draw_sample

SMALL = FreshSize(topics=12, stock=24, pool=16, stratum=8, refinements=2)


def draw(seed: int = 0, size: FreshSize = SMALL) -> Fresh:
    return draw_sample(World.load(), embedders.get("hashing")(), seed=seed, size=size)


@pytest.fixture(scope="module")
def sample() -> Fresh:
    return draw()


@pytest.mark.slow
def test_a_sample_is_determined_by_its_seed(sample: Fresh) -> None:
    again, other = draw(), draw(seed=1)
    for split in ("training", "pools"):
        assert again.responses[split].texts == sample.responses[split].texts
        np.testing.assert_array_equal(again.features[split].matrix("joint"), sample.features[split].matrix("joint"))
        assert other.responses[split].texts != sample.responses[split].texts
    for mine, theirs in zip(again.layout.proposal.strata, sample.layout.proposal.strata, strict=True):
        np.testing.assert_array_equal(mine.flat, theirs.flat)


def test_vectors_stand_beside_their_texts(sample: Fresh) -> None:
    written, features = sample.responses["pools"], sample.features["pools"]
    rows = np.arange(0, len(written), 97)
    fresh = embedders.get("hashing")().embed([f"{written.prompts[i]}\n\n{written.texts[i]}" for i in rows]).vectors
    np.testing.assert_array_equal(features.matrix("joint")[rows], fresh)
    np.testing.assert_array_equal(written.counts[rows], [sample.world.read(written.texts[i]) for i in rows])
    assert [sample.world.spec.topics[p // 3].questions[p % 3] for p in features.prompt[rows]] == [
        written.prompts[i] for i in rows
    ]


def test_splits_are_disjoint(sample: Fresh) -> None:
    training = set(sample.features["training"].prompt.tolist())
    held_out = set(sample.layout.held_out.tolist())
    assert held_out == {5, 11}
    assert not {p // 3 for p in training} & held_out
    for split, expected in (("in", False), ("topics", True), ("counts", False)):
        test = sample.test_pairs(split)  # type: ignore[arg-type]
        assert not set(test.prompt.tolist()) & training
        assert {p // 3 in held_out for p in test.prompt.tolist()} == {expected}
    assert len(sample.layout.prompts) == 24
    assert set(np.diff(sample.pools().offsets)) == {16}


def test_refinement_follows_rewards_further(sample: Fresh) -> None:
    plain = draw(size=replace(SMALL, refinements=0))
    first = plain.layout.proposal.sizes
    assert sample.layout.proposal.sizes[: len(first)] == first
    assert len(first) < len(sample.layout.proposal.sizes) <= len(first) + 8
    ends = []
    for data in (plain, sample):
        # The strata of the beginning are the same texts.
        model = heads.get("linear")(prior_precision=1.0).fit(plain.preferences(pairs=30, seed=0), seed=0)
        path = data.proposal_pool(model.score(data.features["pools"]).mean).path()
        ends.append(path.kl[path.end].mean())
    assert ends[1] > 1.3 * ends[0]
    own = sample.reference_rows[0]
    written, before = sample.responses["pools"], plain.responses["pools"]
    assert [written.texts[i] for i in own] == [before.texts[i] for i in plain.reference_rows[0]]
    # The balance heuristic: weights average to 1 over the mixture.
    weights = np.exp(sample.proposal_pool(sample.gold).log_weight)
    assert weights.mean() == pytest.approx(1, abs=4 * weights.std() / np.sqrt(weights.size))


def test_a_study_opens_it_by_its_kind() -> None:
    options = {"topics": 12, "stock": 60, "pool": 8, "stratum": 2, "refinements": 1}
    config = DatasetConfig(name="fast", kind="fast", embedder="hashing", options=options)
    data = open_dataset(config)
    assert isinstance(data, FastData)
    assert set(data.tests) == {"in", "topics", "counts"}
    assert len(data.pool_offsets) == len(data.path_rows) + 1 == 25
    np.testing.assert_array_equal(data.path_rows[:, :8].ravel(), data.pool_rows)  # a prompt's pool is in its path
    assert len(data.train(mechanism=Mechanism(confounding=2.0), flips=0.25, pairs=50, seed=0)) == 50
    assert data.believed(data.world.proposal_pool(data.world.gold).path()) >= 1
    assert data.classes(data.features)[0] == data.world.world.spec.topics[0].group
    count = FastData.counter(config)
    assert count is not None
    mechanism = Mechanism(confounding=1.0)
    assert count(mechanism=mechanism, seed=3) == data.available(mechanism=mechanism, seed=3) > 50
    assert data.clusters is not None
    np.testing.assert_array_equal(data.clusters, np.repeat(np.arange(12), 3))
    changed = [
        config,
        config.model_copy(update={"options": options | {"seed": 1}}),
        config.model_copy(update={"options": options | {"pool": 9}}),
        config.model_copy(update={"embedder": "static"}),
    ]
    assert len({identify(c) for c in changed}) == 4


def test_bad_requests() -> None:
    for options, message in (
        ({"stock": 1}, "stock of a fresh sample must be >= 2, got 1"),
        ({"reach": -1.0}, r"reach of a fresh sample must be >= 0, got -1\.0"),
        ({"topics": 3}, "topics of a fresh sample must be >= 6, of which one is held out, got 3"),
    ):
        with pytest.raises(OptionError, match=message):
            FreshSize(**options)
    with pytest.raises(OptionError, match="asked for 999 topics, but the world has"):
        draw(size=FreshSize(topics=999))
    config = DatasetConfig(name="f", kind="fast", embedder="hashing")
    with pytest.raises(OptionError, match=r"dataset 'f' has no option 'pol'\. Did you mean 'pool'\?"):
        open_dataset(config.model_copy(update={"options": {"pol": 3}}))
    with pytest.raises(OptionError, match="dataset 'f': seed must be an integer, got 'x'"):
        open_dataset(config.model_copy(update={"options": {"seed": "x"}}))
    one = World.load()
    first = tuple(topic.model_copy(update={"questions": topic.questions[:1]}) for topic in one.spec.topics[:6])
    with pytest.raises(DataError, match="every topic has one wording, which the pairs use; add a second"):
        draw_sample(World(one.spec.model_copy(update={"topics": first})), embedders.get("hashing")(), seed=0)
