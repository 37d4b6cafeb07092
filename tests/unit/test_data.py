import gzip
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from embrm import embedders, heads
from embrm.core.data import Provenance
from embrm.core.data_folder import data_folder
from embrm.data.encode import embedder_of, encode
from embrm.errors import DataError, UnknownNameError
from embrm.world import Mechanism, World, build, layout, shipped
from embrm.world.build import verify
from embrm.world.layout import draw_training, tilted_to
from embrm.world.shipped import Shipped, joined, joint_texts, load
from embrm.world.world_sample import SPLITS


@pytest.fixture(scope="module")
def data() -> Shipped:
    return load()


def test_sizes_that_are_promised(data: Shipped) -> None:
    model = data_folder() / "lm"
    size = {f: f.stat().st_size for f in data_folder().rglob("*") if f.is_file()}
    of_model = sum(bytes_ for f, bytes_ in size.items() if model in f.parents)
    assert sum(size.values()) - of_model <= 40e6
    assert 0 < of_model <= 8e6
    for written in data.responses.values():
        assert 192 <= min(np.unique(written.prompts, return_counts=True)[1]) <= 384
    pools, proposals = data.pools(), data.proposals()
    assert len(pools) == len(proposals) >= 200
    assert set(np.diff(pools.offsets)) == {128}
    assert len(set(data.responses["pools"].prompts)) == len(pools)
    # The π_ref stratum of a prompt is its pool.
    assert pools.gold is not None
    assert proposals.gold is not None
    for i in (0, 100, len(pools) - 1):
        own = proposals.gold[proposals.offsets[i] :][:128]
        np.testing.assert_array_equal(pools.gold[pools.offsets[i] : pools.offsets[i + 1]], own)


def test_splits_are_what_they_say(data: Shipped) -> None:
    training, pools = data.responses["training"], data.responses["pools"]
    held_out = data.layout.held_out
    assert not set(training.topic) & set(held_out)
    assert set(pools.topic) == set(range(len(data.world.topics)))
    for split in ("in", "topics", "counts"):
        test = data.test_pairs(split)
        assert len(test) >= 400
        # No prompt of a test pair was trained on.
        assert not set(test.prompt) & set(data.features["training"].prompt)
        assert set(np.isin(test.prompt // 3, held_out)) == {split == "topics"}


def test_counts_out_of_distribution_exceed_all_of_training(data: Shipped) -> None:
    test = data.test_pairs("counts")
    counts, most = data.responses["pools"].counts, data.responses["training"].counts.max(axis=0)
    beyond = (counts > most).any(axis=1)
    own = np.zeros(len(counts), dtype=bool)
    own[data.reference_rows] = True
    for far, near in ((test.chosen, test.rejected), (test.rejected, test.chosen)):
        assert (beyond[far] | (beyond[near] & own[far])).all()


def test_labels_follow_the_annotators(data: Shipped) -> None:
    counts = data.responses["training"].counts
    for bias in (0.0, 1.0):
        utility = data.world.utility(counts, bias=bias)
        clean = data.preferences(Mechanism(bias=bias), seed=0)
        assert (utility[clean.chosen] >= utility[clean.rejected]).all()
    noisy = data.preferences(Mechanism(bias=1), flips=0.25, seed=0)
    differ = np.abs(utility[noisy.chosen] - utility[noisy.rejected]) > 0
    wrong = utility[noisy.chosen] < utility[noisy.rejected]
    np.testing.assert_allclose(wrong[differ].mean(), 0.25, atol=0.03)
    few = data.preferences(Mechanism(bias=1), flips=0.25, pairs=500, seed=0)
    assert len(few) == 500
    assert (few.features.prompt[few.chosen] == few.features.prompt[few.rejected]).all()


def test_confounded_pairs_are_chosen_among_the_shipped_texts(data: Shipped) -> None:
    confounded = Mechanism(confounding=2.0)
    found = data.collected(confounded, seed=0)
    assert found.correlation > 0.5
    assert found.available >= len(found.rows) == 4000
    gold = data.world.gold(data.responses["training"].counts)
    pairs = data.preferences(confounded, seed=0)
    assert (gold[pairs.chosen] >= gold[pairs.rejected]).all()


@pytest.mark.parametrize("name", ["minilm", "hashing"])
def test_a_model_fitted_on_shipped_vectors_knows_their_embedder(name: str) -> None:
    """The stored vectors are rounded, so that fresh ones give nearly the same scores; those of another are refused."""
    shipped_data = load(name)
    pairs = shipped_data.preferences(Mechanism(bias=0.0), pairs=300, seed=0)
    model = heads.get("linear")(prior_precision=1.0).fit(pairs, seed=0)
    embedder = embedder_of(model)
    assert embedders.registry.name_of(embedder) == name
    written, rows = shipped_data.responses["training"], np.arange(20)
    prompts, texts = ([part[i] for i in rows] for part in (written.prompts, written.texts))
    fresh = encode(prompts, texts, embedder=embedder).features
    expected = model.score(pairs.features.take(rows)).draws
    assert np.corrcoef(model.score(fresh).draws, expected)[0, 1] > 0.99
    other = {"minilm": "hashing", "hashing": "minilm"}[name]
    with pytest.raises(DataError, match="embed the texts with the first"):
        model.score(load(other).features["pools"])
    both = joined([shipped_data.features["pools"], shipped_data.features["training"]])
    assert both.embedder == pairs.features.embedder
    assert joined([both, replace(both, embedder=Provenance())]).embedder == Provenance()


def test_gold_comes_with_the_pools(data: Shipped) -> None:
    pools = data.pools(data.layout.held_out)
    assert len(pools) == 2 * len(data.layout.held_out)  # wordings
    assert pools.gold is not None
    first = data.responses["pools"].texts[
        data.reference_rows[np.isin(data.layout.prompts[:, 0], data.layout.held_out)][0, 0]
    ]
    np.testing.assert_allclose(pools.gold[0], data.world.gold(data.world.read(first)[None])[0])


def test_stratified_pools_give_the_reference_and_its_tilt(data: Shipped) -> None:
    # Importance weights: expectations under π_ref and under its closed-form tilt come out within their errors.
    pool = data.proposal_pool(np.asarray(data.proposals().gold))
    np.testing.assert_allclose(pool.proxy, pool.gold)
    tables = data.world.tables()
    path = pool.path(inverse_beta=[0, 0.5])
    for i, policy in enumerate((pool.reference, pool.reference.tilted(tables, beta=2))):
        exact = sum(float(p @ t) for p, t in zip(policy.probabilities, tables, strict=True))
        error = path.gold[i].std(ddof=1) / np.sqrt(path.gold.shape[1])
        assert abs(path.gold[i].mean() - exact) < 4 * error


def test_tilted_strata_have_their_means(data: Shipped) -> None:
    policy = tilted_to(data.world, {"correct": 3.1, "flattery": 1.2})
    means = dict(zip(data.world.attributes, policy.means, strict=True))
    np.testing.assert_allclose([means["correct"], means["flattery"]], [3.1, 1.2], atol=1e-6)


def test_training_texts_are_made_again_to_the_letter(data: Shipped) -> None:
    again = draw_training(data.world, data.layout, seed=0)
    assert again.texts == data.responses["training"].texts
    np.testing.assert_array_equal(again.counts, data.responses["training"].counts)


def test_stored_hashing_vectors_are_close_to_fresh_ones() -> None:
    data = load("hashing")
    texts = joint_texts(data.responses["training"])[:40]
    fresh = embedders.get("hashing")().embed(texts).vectors
    stored = data.features["training"].matrix("joint")[:40]
    cosine = (fresh * stored).sum(axis=1) / np.linalg.norm(fresh, axis=1) / np.linalg.norm(stored, axis=1)
    assert cosine.min() > 0.99


def test_manifest_tells_the_rounding_error(data: Shipped) -> None:
    manifest = json.loads((data.folder / "manifest.json").read_text(encoding="utf-8"))
    # A uniform step of 1/8 (1/4) root mean square leaves an error of step/√12.
    np.testing.assert_allclose(manifest["vectors"]["minilm"]["rounding_error"], 1 / 8 / np.sqrt(12), rtol=0.05)
    # Most entries of a hashed text are exactly 0, which rounds without error: it is less there.
    fresh = embedders.get("hashing")().embed([t for w in data.responses.values() for t in joint_texts(w)[::50]]).vectors
    stored = np.concatenate([f.matrix("joint")[::50] for f in load("hashing").features.values()])
    error = np.sqrt(np.mean((stored - fresh) ** 2) / np.mean(fresh**2))
    np.testing.assert_allclose(manifest["vectors"]["hashing"]["rounding_error"], error, rtol=0.05)
    assert error < 1 / 4 / np.sqrt(12)
    assert manifest["vectors"]["minilm"]["lowest_cosine"] > 0.998


@pytest.mark.slow
def test_shipped_data_verify() -> None:
    done = verify(data_folder(), sample=16)
    assert len(done) == 5


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a world of eight topics, and few texts to make."""
    raw = yaml.safe_load((data_folder() / "world.yaml").read_text(encoding="utf-8"))
    raw["topics"] = raw["topics"][:8]
    (tmp_path / "world.yaml").write_text(yaml.safe_dump(raw, allow_unicode=True), encoding="utf-8")
    shutil.copytree(data_folder() / "answers", tmp_path / "answers")
    monkeypatch.setattr(layout, "STOCK", 2)
    monkeypatch.setattr(layout, "POOL", 2)
    monkeypatch.setattr(layout, "STRATA", ((1, {"correct": 3.0}), (1, {"wrong": 1.0})))
    monkeypatch.setattr(build, "CHUNK", 7)
    return tmp_path


@pytest.mark.slow
def test_build_then_verify_then_notice_changes(small: Path) -> None:
    first = build.build(small, seed=3)
    assert len(verify(small, sample=4)) == 5
    again = build.build(small, seed=3)
    assert first == again  # equal bytes, hashes and all
    assert build.build(small, seed=4)["files"]["training.jsonl.gz"] != first["files"]["training.jsonl.gz"]
    opened = load(folder=small)
    assert len(opened.preferences(Mechanism(bias=1), pairs=3, seed=0)) == 3
    assert opened.proposals().gold is not None

    world = (small / "world.yaml").read_text(encoding="utf-8")
    (small / "world.yaml").write_text(world.replace("descale", "unscale"), encoding="utf-8")
    with pytest.raises(DataError, match=r"world\.yaml is absent or changed since .*run `embrm data build`"):
        verify(small)
    (small / "world.yaml").write_text(world, encoding="utf-8")

    manifest = json.loads((small / "manifest.json").read_text(encoding="utf-8"))
    manifest["seed"] = 5
    (small / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")
    with pytest.raises(DataError, match=r"texts of training are not those that world\.yaml makes"):
        verify(small)


def test_absent_and_foreign_data_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match=r"no shipped vectors of 'bert'\. There are: minilm, hashing, static"):
        load("bert")
    with pytest.raises(DataError, match=r"no manifest\.json in .*embrm data build"):
        verify(tmp_path)
    shutil.copy(data_folder() / "world.yaml", tmp_path)
    with pytest.raises(DataError, match=r"no training\.jsonl\.gz in .*embrm data build"):
        _ = load(folder=tmp_path).responses
    row = {"topic": "alchemy", "wording": 0, "counts": [0] * 8, "prompt": "", "response": ""}
    with gzip.open(tmp_path / "training.jsonl.gz", "wt", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    with pytest.raises(DataError, match="topics that the world lacks: alchemy"):
        shipped.read_responses(tmp_path / "training.jsonl.gz", World.load())


def test_vectors_must_fit_their_texts(tmp_path: Path, data: Shipped) -> None:
    for name in ("world.yaml", "training.jsonl.gz", "pools.jsonl.gz"):
        shutil.copy(data_folder() / name, tmp_path)
    with pytest.raises(DataError, match=r"no minilm\.npz in .*embrm data build"):
        _ = load(folder=tmp_path).features
    short = {name: np.zeros((3, 4), dtype=np.int8) for name in SPLITS}
    np.savez(tmp_path / "minilm.npz", step=np.float32(1), **short)  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"has 3 vectors for the \d+ texts of 'training'"):
        _ = load(folder=tmp_path).features


def test_bad_requests(data: Shipped) -> None:
    with pytest.raises(DataError, match="asked for 9999999 pairs, but 16704 texts of 87 prompts make only"):
        data.preferences(Mechanism(bias=0), pairs=9999999, seed=0)
    with pytest.raises(UnknownNameError, match=r"no test split 'out'\. There are: in, topics, counts"):
        data.test_pairs("out")  # type: ignore[arg-type]
    with pytest.raises(DataError, match=r"proxy must have shape \(46592,\) for the rows of proposals\(\), got \(3,\)"):
        data.proposal_pool(np.zeros(3))


def test_rounding_that_does_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(build.STEP, "hashing", 1e-3)
    with pytest.raises(DataError, match="vectors of hashing do not fit 8 bits"):
        build._rounded("hashing", ["a word", "another word"], progress=False)
