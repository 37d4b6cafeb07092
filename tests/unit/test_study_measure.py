"""What a study measures, against straightforward computation, and where its data come from."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from embrm import bestofn, detectors, embedders, heads
from embrm.core.data import Pairs
from embrm.data.encode import encode
from embrm.errors import DataError, OptionError
from embrm.evaluation.penalty import LatentDistance
from embrm.heads import FittedHead
from embrm.study.config import DatasetConfig, StudyConfig, parse
from embrm.study.datasets import Dataset, open_dataset
from embrm.study.datasets.pool import PoolData
from embrm.study.measures.detection import texts_of
from embrm.study.measures.fit import FitCell, control, measure, optimum_path
from embrm.study.measures.rl import rl
from embrm.study.metric import Metric
from embrm.study.results import Cell, Results, Row
from embrm.world.judge import WorldGold
from embrm.world.mechanism import Mechanism

X = Metric("bon", "x")
EMBEDDER = embedders.get("hashing")()
PACK = Path(__file__).parents[3] / "shared" / "packs" / "alpacaeval"


@pytest.fixture(scope="module")
def world() -> Dataset:
    return open_dataset(DatasetConfig(name="world", embedder="hashing"))


@pytest.fixture
def pool_file(tmp_path: Path) -> Callable[..., DatasetConfig]:
    def write(*, gold: bool = True, prompts: int = 24) -> DatasetConfig:
        rng = np.random.default_rng(0)
        words = ["bread", "yeast", "water", "flour", "salt", "oven", "warm", "slow", "rest", "knead", "fold", "bake"]
        rows = []
        for i in range(prompts):
            answers = [" ".join(rng.choice(words, size=rng.integers(3, 12))) for _ in range(6 + i % 3)]
            row = {"id": str(i), "prompt": f"Question {i}", "responses": answers}
            row["policy"] = ["odd" if j == 0 else "plain" for j in range(len(answers))]
            rows.append(row | ({"gold": rng.normal(size=len(answers)).tolist()} if gold else {}))
        path = tmp_path / "pool.jsonl"
        path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
        return DatasetConfig(name="mine", kind="pool", pool=str(path), embedder="hashing")

    return write


def config(**changes: object) -> StudyConfig:
    values: dict[str, object] = {
        "seeds": [0],
        "datasets": [{"name": "world", "embedder": "hashing"}],
        "pairs": [500],
        "heads": [{"name": "inform", "options": {"members": 3}}, {"name": "linear"}, {"name": "brme"}],
        "rules": [
            {"name": "mean"},
            {"name": "worst_case"},
            {"name": "soft"},
            {"name": "robust", "title": "robust 0.5"},
            {"name": "penalised", "penalty": "latent", "title": "ibl 1"},
        ],
        "kl_points": 9,
        "detection": {
            "heads": ["inform"],
            "pairs": 500,
            "detectors": ["csi", "mahalanobis"],
            "spaces": ["latent", "pca"],
            "outputs": 60,
            "points": 3,
        },
    }
    return parse(values | changes)


def measured(world: Dataset, which: int, **changes: object) -> tuple[FittedHead, Pairs, Row]:
    asked = config(**changes)
    head = asked.heads[which]
    training = world.train(mechanism=Mechanism(bias=1.0), flips=0.25, pairs=500, seed=0)
    model = heads.get(head.name)(**head.options).fit(training, seed=0)
    cell = Cell("fit", "world", head.title, 500, "biased", 0.25, 0)
    return (
        model,
        training,
        measure(
            asked, world, model, FitCell(head, cell, "key"), training=training, temperature=1.5, seconds={"fit": 1.0}
        ),
    )


@pytest.fixture(scope="module")
def inform(world: Dataset) -> tuple[FittedHead, Pairs, Row]:
    return measured(world, 0)


@pytest.mark.parametrize("policy", ["grammar", pytest.param("causal_lm", marks=pytest.mark.slow)])
@pytest.mark.filterwarnings("ignore:`(is_)?gradient_checkpointing(_enable|_disable)?` is deprecated:FutureWarning")
def test_a_run_is_trained_against_the_head_and_watched(policy: str, world: Dataset) -> None:
    asked = {"policy": policy, "heads": ["linear"], "dataset": "world", "steps": 3, "batch": 8, "max_new_tokens": 24}
    study = config(rl=asked | {"group": 4, "learning_rate": 0.05 if policy == "grammar" else 0.001})
    training = world.train(mechanism=Mechanism(bias=1.0), flips=0.25, pairs=500, seed=0)
    model = heads.get("linear")().fit(training, seed=0)
    row = rl(study, world, model, Cell("rl", "world", "linear", 500, "biased", 0.25, 0), "key", training=training)
    kl, gold, proxy = (row.arrays[Metric("run", name)] for name in ("kl", "gold", "proxy"))
    assert kl[0] == pytest.approx(0, abs=1e-9)
    assert kl[2] > 0
    for i, step in enumerate(row.notes["steps"]):
        texts, asked_for = ([kept[name] for kept in step["sample"]] for name in ("text", "prompt"))
        made = encode(asked_for, texts, embedder=EMBEDDER, views=model.widths).features
        told = model.score(made).centred().mean
        np.testing.assert_allclose([kept["proxy"] for kept in step["sample"]], told, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose([kept["gold"] for kept in step["sample"]], WorldGold()(asked_for, texts), atol=1e-6)
        if len(texts) == 8:
            means = [told.mean(), WorldGold()(asked_for, texts).mean()]
            np.testing.assert_allclose([proxy[i], gold[i]], means, rtol=1e-6, atol=1e-8)
    watched = row.arrays[Metric("watch", "csi", "latent")]
    assert watched.shape == kl.shape
    reference = model.latent(training.features.take(texts_of(training)))
    centred = reference - reference.mean(axis=0)
    assert row.arrays[Metric("latent")].shape == (3, 8, 2)
    spread = np.linalg.svd(centred, compute_uv=False)[:2]
    whole = np.linalg.norm(row.arrays[Metric("cloud")], axis=0)
    assert whole[0] <= spread[0] * (1 + 1e-9)
    assert row.notes["attributes"][:2] == ["correct", "wrong"]


def test_a_run_by_a_rule_is_rewarded_by_its_value(world: Dataset) -> None:
    ibl = {"name": "penalised", "options": {"weight": 0.1}, "title": "ibl", "penalty": "latent"}
    imitation = {"name": "imitation", "options": {"weight": 0.1}, "penalty": "experts", "title": "like"}
    asked = {"heads": ["inform"], "dataset": "world", "steps": 2, "batch": 8, "rules": ["ibl"]}
    study = config(rl=asked, heads=[{"name": "inform"}], rules=[{"name": "mean"}, ibl, imitation])
    training = world.train(mechanism=Mechanism(bias=1.0), flips=0.25, pairs=500, seed=0)
    model = heads.get("inform")(latent_dim=4, epochs=1).fit(training, seed=0)
    cell = Cell("rl", "world", "inform", 500, "biased", 0.25, 0, "ibl")
    row = rl(study, world, model, cell, "key", training=training)
    known = model.latent(training.features.take(texts_of(training)))
    distance = LatentDistance(detectors.get("mahalanobis")(squared=True), known)
    for step in row.notes["steps"]:
        texts, asked_for = ([kept[name] for kept in step["sample"]] for name in ("text", "prompt"))
        made = encode(asked_for, texts, embedder=EMBEDDER, views=model.widths).features
        wanted = model.score(made).centred().mean - 0.1 * distance(model.latent(made))
        np.testing.assert_allclose([kept["proxy"] for kept in step["sample"]], wanted, rtol=1e-4, atol=1e-5)
    with pytest.raises(DataError, match="the penalty of the rule 'like' is not known of new texts"):
        rl(study, world, model, replace(cell, rule="like"), "key", training=training)


def test_the_world_is_what_is_shipped(world: Dataset) -> None:
    assert world.gold is not None
    assert {split: len(pairs) for split, pairs in world.tests.items()} == {"in": 11136, "topics": 2176, "counts": 811}
    for pairs in world.tests.values():
        assert (world.gold[pairs.chosen] >= world.gold[pairs.rejected]).all()
    np.testing.assert_array_equal(world.path_rows[:, :128].ravel(), world.pool_rows)  # a prompt's pool is in its path
    weight = np.exp(world.log_weight)
    np.testing.assert_allclose((weight / weight.sum(axis=1, keepdims=True)).sum(axis=1), 1)
    # Under π_ref the stratified pool and the plain one have the same mean gold.
    mean = (weight * world.gold[world.path_rows]).sum(axis=1) / weight.sum(axis=1)
    assert abs(mean.mean() - world.gold[world.pool_rows].mean()) < 0.1


def test_best_of_n_and_accuracy_are_those_of_the_mean_reward(
    world: Dataset, inform: tuple[FittedHead, Pairs, Row]
) -> None:
    model, _, row = inform
    assert world.gold is not None
    value = model.score(world.features).centred().mean
    np.testing.assert_array_equal(row.arrays[Metric("sizes")], [1, 2, 4, 8, 16, 32, 64, 128])
    gold, rows = world.gold, world.pool_rows
    for i in (0, 50):
        mine = rows[world.pool_offsets[i] : world.pool_offsets[i + 1]]
        assert row.arrays[Metric("bon", "mean")][i, 0] == pytest.approx(gold[mine].mean())
        assert row.arrays[Metric("bon", "mean")][i, -1] == pytest.approx(gold[mine][value[mine].argmax()])
    pairs = world.tests["topics"]
    right = (value[pairs.chosen] > value[pairs.rejected]) + 0.5 * (value[pairs.chosen] == value[pairs.rejected])
    np.testing.assert_allclose(
        row.arrays[Metric("accuracy", "topics")], [right[pairs.prompt == p].mean() for p in np.unique(pairs.prompt)]
    )


def test_the_path_is_that_of_the_tilted_policy(world: Dataset, inform: tuple[FittedHead, Pairs, Row]) -> None:
    model, _, row = inform
    assert world.gold is not None
    value = model.score(world.features).centred().mean
    found = optimum_path(config(), world, value)
    np.testing.assert_array_equal(found.gold, row.arrays[Metric("path", "mean")])
    # At one of its own points, computed from the definition.
    at = 12
    eta, r, g = found.path.inverse_beta[at], value[world.path_rows], world.gold[world.path_rows]
    weight = np.exp(world.log_weight + eta * r - (world.log_weight + eta * r).max(axis=1, keepdims=True))
    weight /= weight.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found.path.gold[at], (weight * g).sum(axis=1))
    kl = np.linspace(0, 4, 9)
    finite = np.isfinite(found.proxy)
    assert finite[0]
    assert (np.diff(finite.astype(int)) <= 0).all()
    assert kl[finite].max() <= found.path.kl.mean(axis=1).max()
    assert (np.diff(found.proxy[finite]) > 0).all()


def test_penalties_and_members_change_what_is_optimised(inform: tuple[FittedHead, Pairs, Row]) -> None:
    arrays = inform[2].arrays
    assert {
        Metric("path", "mean"),
        Metric("path", "worst_case"),
        Metric("path", "ibl 1"),
        Metric("bon", "soft"),
        Metric("spread", "mean"),
    } <= set(arrays)
    assert Metric("path", "soft") not in arrays  # draws at random: no value to tilt by
    assert Metric("path", "robust 0.5") not in arrays  # these members state no sigma
    assert not np.allclose(arrays[Metric("path", "mean")][:, 1], arrays[Metric("path", "ibl 1")][:, 1])
    assert arrays[Metric("spread", "mean")][1] == pytest.approx(2.0, abs=0.3)


def test_the_members_of_brme_are_also_taken_one_at_a_time(world: Dataset) -> None:
    model, _, row = measured(world, 2)
    assert world.gold is not None
    draws, rows = model.score(world.features).centred().draws, world.pool_rows
    each = [
        bestofn.curve(
            d[rows], world.gold[rows], row.arrays[Metric("sizes")], offsets=world.pool_offsets
        ).gold_per_prompt
        for d in draws
    ]
    np.testing.assert_allclose(row.arrays[Metric("bon", "single")], np.mean(each, axis=0))
    assert np.isfinite(row.arrays[Metric("path", "robust 0.5")][:, 0]).all()


def test_detectors_and_aurocs_only_where_they_are_asked_for(
    world: Dataset, inform: tuple[FittedHead, Pairs, Row]
) -> None:
    arrays = inform[2].arrays
    assert {metric.space for metric in arrays if metric.family == "watch"} == {"latent", "pca"}  # as asked
    assert arrays[Metric("alarm", "mahalanobis", "latent")].shape == arrays[Metric("points", "kl")].shape == (3,)
    told = arrays[Metric("auroc", space="latent")]
    assert ((told[np.isfinite(told)] >= 0) & (told[np.isfinite(told)] <= 1)).all()
    assert not any(metric.family in ("points", "watch", "auroc") for metric in measured(world, 1)[2].arrays)


def test_scoring_a_tenth_wrongly_costs_gold_under_a_perfect_reward(world: Dataset) -> None:
    assert world.gold is not None
    oracle = control(config(), world, Cell("control", "world", "oracle"), "key")
    random = control(config(), world, Cell("control", "world", "random"), "key")
    length = control(config(), world, Cell("control", "world", "length"), "key")
    best, mean = oracle.arrays[Metric("bon", "mean")], random.arrays[Metric("bon", "mean")]
    np.testing.assert_allclose(mean, np.repeat(mean[:, :1], mean.shape[1], axis=1))
    assert (best[:, -1] >= length.arrays[Metric("bon", "mean")][:, -1]).all()
    assert (oracle.arrays[Metric("accuracy", "in")] == 1).all()
    assert (random.arrays[Metric("accuracy", "in")] == 0.5).all()
    np.testing.assert_allclose(random.arrays[Metric("path", "mean")][:, 0], oracle.arrays[Metric("path", "mean")][:, 0])


def test_a_row_survives_the_disk(tmp_path: Path, inform: tuple[FittedHead, Pairs, Row]) -> None:
    row = inform[2]
    row.save(tmp_path)
    again = Row.load(tmp_path / "key.npz")
    assert again.cell == row.cell
    assert again.numbers == pytest.approx(dict(row.numbers))
    assert again.arrays.keys() == row.arrays.keys()
    for name, values in row.arrays.items():
        np.testing.assert_array_equal(again.arrays[name], values)
    (tmp_path / "key.npz").write_bytes(b"no archive")
    with pytest.raises(DataError, match=r"key.npz is damaged .*; remove it and run the study again"):
        Row.load(tmp_path / "key.npz")


def test_rows_are_stacked_by_seed() -> None:
    def row(head: str, seed: int) -> Row:
        return Row(Cell("fit", "d", head, 10, "fair", 0.0, seed), f"{head}{seed}", arrays={X: np.full(3, float(seed))})

    results = Results(config(), [row("a", 1), row("a", 0), row("b", 1), row("b", 2)])
    stacked = results.stack(X, dataset="d", head="a")
    assert stacked is not None
    np.testing.assert_array_equal(stacked, [[0, 1]] * 3)
    assert results.stack(Metric("bon", "y"), dataset="d", head="a") is None
    with pytest.raises(DataError, match=r"several rows a seed have 'bon\.x'"):
        results.stack(X, dataset="d")


def test_a_pool_gives_pairs_that_its_annotators_would_give(pool_file: Callable[..., DatasetConfig]) -> None:
    data = open_dataset(pool_file())
    assert data.gold is not None
    assert data.exact
    clean = data.train(mechanism=Mechanism(), flips=0.0, pairs=60, seed=3)
    assert (data.gold[clean.chosen] > data.gold[clean.rejected]).all()
    held: set[int] = set(data.tests["test"].prompt.tolist())
    assert held
    assert held.isdisjoint(clean.prompt.tolist())
    turned = data.train(mechanism=Mechanism(), flips=0.4, pairs=60, seed=3)
    share = (data.gold[turned.chosen] < data.gold[turned.rejected]).mean()
    assert 0.2 < share < 0.6
    length = data.features.length
    assert length is not None
    fond = data.train(mechanism=Mechanism(bias=50.0), flips=0.0, pairs=60, seed=3)
    assert (length[fond.chosen] >= length[fond.rejected]).all()
    # Pools of unequal size: what pads them has no weight.
    real = np.isfinite(data.log_weight)
    np.testing.assert_array_equal(real.sum(axis=1), np.diff(data.pool_offsets))


def test_a_pool_without_gold_or_with_a_misspelt_policy_is_refused(pool_file: Callable[..., DatasetConfig]) -> None:
    with pytest.raises(DataError, match="has no gold, which kind 'pool' makes its preferences from"):
        open_dataset(pool_file(gold=False))
    with pytest.raises(DataError, match=r"no policy od in .*; look for a typo"):
        open_dataset(pool_file().model_copy(update={"omit": ["od"]}))
    with pytest.raises(DataError, match="8 prompts are too few to split; give at least 16"):
        open_dataset(pool_file(prompts=8))
    fewer = open_dataset(pool_file().model_copy(update={"omit": ["odd"]}))
    assert len(fewer.features) == len(open_dataset(pool_file()).features) - 24
    assert isinstance(fewer, PoolData)
    equal = replace(fewer, quality=[np.zeros_like(q) for q in fewer.quality])
    with pytest.raises(DataError, match="has 0 pairs of unequal utility to train on, asked for 60"):
        equal.train(mechanism=Mechanism(), flips=0.0, pairs=60, seed=0)


def test_files_bring_their_own_labels(pool_file: Callable[..., DatasetConfig], tmp_path: Path) -> None:
    asked = pool_file(gold=False)
    rows = [
        {"prompt": f"Question {i}", "chosen": f"warm bread {i}", "rejected": f"cold water {j}"}
        for i in range(12)
        for j in range(3)
    ]
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    data = open_dataset(asked.model_copy(update={"kind": "files", "pairs": str(pairs)}))
    assert data.gold is None
    training = data.train(mechanism=Mechanism(bias=1.0), flips=0.0, pairs=20, seed=0)
    test = data.tests["test"]
    assert set(test.prompt.tolist()).isdisjoint(training.prompt.tolist())
    model = heads.get("linear")(prior_precision=1.0).fit(training, seed=0)
    value: npt.NDArray[np.floating] = model.score(data.features).mean
    assert (value[test.chosen] > value[test.rejected]).all()
    asked_config = config(detection={"heads": []})
    cell = Cell("fit", "mine", "linear", 20)
    row = measure(
        asked_config,
        data,
        model,
        FitCell(asked_config.heads[1], cell, "k"),
        training=training,
        temperature=1.0,
        seconds={},
    )
    assert not any(metric.family in ("bon", "path") for metric in row.arrays)  # without gold there is nothing to gain
    with pytest.raises(DataError, match="training pairs, asked for 1000; lower 'pairs'"):
        data.train(mechanism=Mechanism(), flips=0.0, pairs=1000, seed=0)


@pytest.mark.skipif(not PACK.is_dir(), reason="the AlpacaEval pool is not beside the checkout")
def test_a_folder_with_vectors_is_a_pool() -> None:
    asked = DatasetConfig(name="alpacaeval", kind="pool", pool=str(PACK), omit=["NullModel"])
    data = open_dataset(asked)
    assert data.path_rows.shape == (100, 57)
    found = control(config(), data, Cell("control", "alpacaeval", "oracle"), "key")
    assert found.arrays[Metric("sizes")][-1] == 57


def test_a_mechanism_changes_which_pairs_of_a_pool_are_drawn(pool_file: Callable[..., DatasetConfig]) -> None:
    data = open_dataset(pool_file(prompts=40))
    fair, confounded, narrow = Mechanism(), Mechanism(confounding=1.0), Mechanism(coverage=0.2)

    def seen(mechanism: Mechanism) -> Mapping[str, float]:
        return data.seen(mechanism=mechanism, pairs=60, seed=0)

    assert seen(confounded)["style_quality_correlation"] > seen(fair)["style_quality_correlation"] + 0.1
    assert (seen(fair)["seen_share"], seen(confounded)["seen_share"]) == (1.0, 1.0)
    assert len(np.unique(data.train(mechanism=narrow, flips=0.0, pairs=60, seed=0).prompt)) == 6  # of 30
    assert seen(narrow)["seen_share"] == pytest.approx(0.2, abs=0.03)  # texts, of a fifth of the prompts
    assert data.gold is not None
    for mechanism in (confounded, narrow):  # whose labels follow the gold
        pairs = data.train(mechanism=mechanism, flips=0.0, pairs=60, seed=0)
        assert (data.gold[pairs.chosen] > data.gold[pairs.rejected]).all()
    counts = [data.available(mechanism=mechanism, seed=0) for mechanism in (fair, confounded, narrow)]
    assert counts[0] > counts[1] > 60 < counts[2] < counts[0]
    with pytest.raises(DataError, match=f"has {counts[1]} pairs of unequal utility to train on, asked for 5000"):
        data.train(mechanism=confounded, flips=0.0, pairs=5000, seed=0)
    with pytest.raises(DataError, match=r"a coverage of 0\.001 leaves none of 30 topics"):
        data.train(mechanism=Mechanism(coverage=0.001), flips=0.0, pairs=5, seed=0)
    with pytest.raises(OptionError, match="a pool has no styles that could be unseen, got padding"):
        data.train(mechanism=Mechanism(unseen=("padding",)), flips=0.0, pairs=5, seed=0)


def test_pairs_of_a_pool_come_from_all_prompts_that_have_any(pool_file: Callable[..., DatasetConfig]) -> None:
    data = open_dataset(pool_file(prompts=40))
    assert isinstance(data, PoolData)
    some = [np.where(np.arange(len(q)) == 0, 1.0, 0.0) if i < 20 else 0 * q for i, q in enumerate(data.quality)]
    few = replace(data, quality=[*some[:-1], data.quality[-1]])  # 20 prompts with n − 1 pairs, 9 without, one with all
    most = few.available(mechanism=Mechanism(), seed=0)
    sizes = np.array([len(q) for q in few.quality])
    assert most == (sizes[:20] - 1).sum() + sizes[-1] * (sizes[-1] - 1) // 2
    pairs = few.train(mechanism=Mechanism(), flips=0.0, pairs=most, seed=0)
    assert len({*zip(pairs.chosen.tolist(), pairs.rejected.tolist(), strict=True)}) == most  # none twice
    half = few.train(mechanism=Mechanism(), flips=0.0, pairs=60, seed=0)
    each = np.unique(half.prompt, return_counts=True)[1]
    assert len(each) == 21
    assert each.max() - each.min() <= 1
