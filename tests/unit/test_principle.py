"""Rewards that read a principle: what they read, what they are under one, and what is refused."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from embrm import Features, Pairs, heads, load_model, read_pairs, under
from embrm.cli import run
from embrm.core.arrays import Array
from embrm.core.views import needed, under_principle
from embrm.data.encode import encode
from embrm.data.stream import stream_pairs
from embrm.embedders import get
from embrm.errors import DataError, OptionError, UnknownNameError
from embrm.heads import Head
from embrm.heads._principle import PrincipleWarning, familiarity
from embrm.heads.ensemble import Ensemble
from embrm.heads.gradient.rows import RowSource
from embrm.heads.linear import Linear
from embrm.heads.mlp import Mlp
from embrm.world import Mechanism, World
from embrm.world.principles import Told, all_told, find_principle, read_principles, told_each, told_utility
from embrm.world.sampling import pair_rows

HASHING = get("hashing")(dimension=16)
D = 6
VIEWS = ("joint+principle", "prompt+response+length+principle")


def told(pairs: int, *, seed: int = 0) -> tuple[Pairs, Array]:
    """Return pairs judged by one of four principles q, whose reward is x·(w + a ∘ q), and the principles `(4, D)`."""
    rng = np.random.default_rng(seed)
    base, q = np.random.default_rng(99).normal(size=(D + D, D)), np.eye(4, D) + 0.2
    w, a = base[0], base[D:]
    x = rng.normal(size=(2 * pairs, D))
    which = rng.integers(4, size=pairs)
    reward = (x * (w + q[np.repeat(which, 2)] @ np.diag(np.diag(a) * 3))).sum(axis=1).reshape(pairs, 2)
    rows = np.arange(2 * pairs).reshape(pairs, 2)
    first = rng.random(pairs) < 1 / (1 + np.exp(-2 * (reward[:, 0] - reward[:, 1])))
    chosen, rejected = np.where(first[:, None], rows, rows[:, ::-1]).T
    views = {"joint": x, "response": x, "prompt": rng.normal(size=x.shape), "principle": q[np.repeat(which, 2)]}
    features = Features(views, prompt=np.repeat(np.arange(pairs), 2), length=rng.integers(1, 99, size=len(x)) * 1.0)
    return Pairs(features, chosen, rejected), q


def test_a_principle_stands_beside_what_it_is_crossed_with() -> None:
    assert under_principle("joint+length") is None
    assert under_principle("joint+principle") == ("joint", ("joint",))
    assert needed(["joint+length+principle"]) == ("joint", "principle")
    features = told(5)[0].features
    p, r, q = (features.matrix(name) for name in ("prompt", "response", "principle"))
    by_hand = np.column_stack([p, r, np.log1p(features.length), q, q * r])  # type: ignore[arg-type]
    view = "prompt+response+length+principle"
    np.testing.assert_allclose(features.matrix(view), by_hand, rtol=1e-6)
    source = RowSource.of(features, view)
    assert source.shape == by_hand.shape
    np.testing.assert_allclose(source[2:7], by_hand[2:7], rtol=1e-6)
    np.testing.assert_allclose(source.gather(torch.tensor([4, 4, 0])), by_hand[[4, 4, 0]], rtol=1e-6)


@pytest.mark.parametrize("view", ["principle", "principle+joint", "prompt+principle", "joint+minilm:joint+principle"])
def test_a_principle_beside_nothing_that_it_could_be_about_is_refused(view: str) -> None:
    pairs, _ = told(20)
    with pytest.raises(OptionError, match="a principle stands last, beside what it is about"):
        Linear(view=view).fit(pairs, seed=0)


def test_a_principle_of_another_width_is_refused() -> None:
    pairs, _ = told(20)
    views = {**pairs.features.views, "principle": np.ones((40, 3))}
    with pytest.raises(DataError, match="a principle is crossed with vectors of its own width, got 3 and 6"):
        RowSource.of(replace(pairs.features, views=views), "joint+principle")


RECIPES: tuple[Head, ...] = (
    Linear(members=2),
    Mlp(members=2, epochs=3),
    heads.get("inform")(epochs=3),
    heads.get("odin")(epochs=2),
    heads.get("dropout")(epochs=2),
    Ensemble(base=Mlp(epochs=2), members=2),
    Ensemble(base=Linear(), members=2, diversity="embedder", views=("joint+principle", "response+principle")),
)


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: type(recipe).__name__)
def test_under_a_principle_is_the_reward_of_texts_that_have_it(recipe: Head, tmp_path: Path) -> None:
    pairs, q = told(60)
    if isinstance(recipe, Ensemble) and not recipe.views:
        recipe = replace(recipe, base=replace(recipe.base, view=VIEWS[1]))
    elif not isinstance(recipe, Ensemble):
        recipe = replace(recipe, view=VIEWS[1])
    model = recipe.fit(pairs, seed=0)
    given = {**pairs.features.views, "principle": np.tile(q[2], (len(pairs.features), 1))}
    model.save(tmp_path / "told")
    for one in (model, load_model(tmp_path / "told")):
        found = one.under(q[2])
        assert "principle" not in "".join(found.widths)
        expected = one.score(replace(pairs.features, views=given)).centred().draws
        np.testing.assert_allclose(found.score(pairs.features).centred().draws, expected, rtol=1e-4, atol=1e-4)
    found.save(tmp_path / "under")
    again = load_model(tmp_path / "under")
    np.testing.assert_allclose(again.score(pairs.features).mean, found.score(pairs.features).mean, rtol=1e-5, atol=1e-5)
    assert again.record["under"]["cosine"] == pytest.approx(1)


@pytest.mark.parametrize("recipe", [Linear(view=VIEWS[0]), Mlp(view=VIEWS[0], epochs=30)], ids=["linear", "mlp"])
def test_under_orders_texts_as_a_head_refitted_to_that_principle_alone(recipe: Head) -> None:
    pairs, q = told(3000)
    model, fresh = recipe.fit(pairs, seed=0), np.random.default_rng(5).normal(size=(800, D))
    told_so, alone = [], []
    for vector in q:
        own = pairs.take((pairs.features.matrix("principle")[pairs.chosen] == vector.astype(np.float32)).all(axis=1))
        told_so.append(model.under(vector).score(fresh).mean)
        alone.append(replace(recipe, view="joint").fit(own, seed=0).score(fresh).mean)
    alike = np.corrcoef(told_so, alone)[:4, 4:]
    assert np.diag(alike).min() > 0.95
    np.testing.assert_array_equal(alike.argmax(axis=1), np.arange(4))  # and principles differ in what they ask for
    assert np.sort(alike, axis=1)[:, 0].max() < 0.9


def written(folder: Path, *, principles: bool = True) -> Path:
    rows, _ = pair_rows(World.load(), 40, mechanism=Mechanism(bias=1), flips=0, seed=0, principles=principles)
    file = folder / f"told{principles}.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return file


def test_a_file_with_principles_through_the_commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file, text = written(tmp_path), "Do not flatter the reader."
    fit = ["fit", str(file), "--head", "linear", "--set", "view=joint+principle", "--embedder", "hashing"]
    assert run([*fit, "--embedder-set", "dimension=16", "--holdout", "0", "-o", "model"]) == 0
    assert run(["score", "model", str(file), "--principle", text, "-o", "scores.jsonl"]) == 0
    model = load_model("model")
    asked = under(model, text)
    assert asked.record["under"]["principle"] == text
    texts = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    prompts = [row["prompt"] for row in texts for _ in range(2)]
    responses = [row[side] for row in texts for side in ("chosen", "rejected")]
    features = encode(prompts, responses, embedder=HASHING).features
    found = [json.loads(line)["score"] for line in Path("scores.jsonl").read_text(encoding="utf-8").splitlines()]
    np.testing.assert_allclose(found, asked.score(features).centred().mean, rtol=1e-5, atol=1e-6)
    views = ("joint+principle",)
    pairs = read_pairs(file, embedder=HASHING, views=views)
    streamed, _ = stream_pairs(file, embedder=HASHING, views=views)
    np.testing.assert_array_equal(pairs.features.matrix("principle"), streamed.features.matrix("principle"))
    assert len(pairs.features) == len(
        {(r["prompt"], r[s], r["principle"]) for r in texts for s in ("chosen", "rejected")}
    )


def test_a_policy_is_trained_against_the_reward_under_a_principle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    head = ["--head", "linear:view=joint+principle,prior_precision=100.0", "--pairs", "60", "--bias", "1"]
    small = ["--steps", "2", "--batch", "4", "--embedder", "hashing", "--embedder-set", "dimension=16"]
    text = "Do not flatter the reader."
    assert run(["rl", *head, *small, "--principle", text, "-o", "run"]) == 0
    rows = [json.loads(line) for line in Path("run/preferences.jsonl").read_text(encoding="utf-8").splitlines()]
    assert {row["principle"] for row in rows} <= {told.text for told in all_told(read_principles(), "wordings")}
    sample = json.loads(Path("run/trajectory.jsonl").read_text(encoding="utf-8").splitlines()[0])["sample"]
    asked = under(load_model("run/head"), text)
    features = encode([each["prompt"] for each in sample], [each["text"] for each in sample], embedder=HASHING).features
    np.testing.assert_allclose(
        asked.score(features).centred().mean, [each["proxy"] for each in sample], rtol=1e-4, atol=1e-5
    )
    assert run(["rl", "run/head", *small, "-o", "untold"]) == 1  # texts of a policy have no principle


@pytest.mark.slow
def test_the_path_under_a_principle_is_that_of_the_model_under_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    view = ["--set", "view=joint+principle", "--set", "prior_precision=100.0"]
    assert run(["fit", str(written(tmp_path)), "--head", "linear", *view, "--embedder", "hashing", "-o", "told"]) == 0
    under(load_model("told"), "Flatter the reader.").save("under")
    found = []
    for typed in (["told", "--principle", "Flatter the reader."], ["under"]):
        capsys.readouterr()
        assert run(["tilt", *typed, "--json"]) == 0
        found.append(json.loads(capsys.readouterr().out)["path"])
    assert [row["gold"] for row in found[0]] == pytest.approx([row["gold"] for row in found[1]], abs=1e-6)


def test_texts_without_a_principle_are_refused_where_one_is_read(tmp_path: Path) -> None:
    file = written(tmp_path, principles=False)
    with pytest.raises(DataError, match="80 of 80 texts have no principle, and one is read"):
        read_pairs(file, embedder=HASHING, views=("joint+principle",))
    with pytest.raises(DataError, match="every response needs its principle, got 1 principles for 2 responses"):
        encode(["a", "b"], ["c", "d"], embedder=HASHING, views=("joint+principle",), principles=["e"])
    file.write_text(json.dumps({"prompt": "a", "chosen": "b", "rejected": "c", "principle": 3}), encoding="utf-8")
    with pytest.raises(DataError, match="line 1: principle must be text, got 3"):
        read_pairs(file, embedder=HASHING, views=("joint+principle",))


def test_a_model_that_reads_no_principle_and_a_head_that_takes_in_none_are_refused() -> None:
    pairs, q = told(40)
    with pytest.raises(OptionError, match="the model reads no principle: its view is 'joint'"):
        Linear().fit(pairs, seed=0).under(q[0])
    model = Linear(view=VIEWS[0]).fit(pairs, seed=0)
    with pytest.raises(DataError, match=r"a principle is a vector of shape \(6,\), got \(3,\)"):
        model.under(q[0][:3])
    with pytest.raises(DataError, match="the principle is empty"):
        under(model, " ")
    with pytest.raises(OptionError, match="the head 'boosting' takes in no principle"):
        heads.get("boosting")(view=VIEWS[0]).fit(pairs, seed=0).under(q[0])


def test_a_principle_unlike_all_of_the_training_rows_is_told() -> None:
    pairs, q = told(40)
    model = Linear(view=VIEWS[0]).fit(pairs, seed=0)
    assert model.principles is not None
    assert len(model.principles) == 4
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.under(q[0] + 0.1)
    with pytest.warns(PrincipleWarning, match="the principle is unlike all 4 of the training rows"):
        model.under(-q[0])
    assert familiarity(np.array([0.0, 1.0]), np.array([[1.0, 0.0]])) == (0.0, 1.0)  # nothing is like one alone


def test_the_world_follows_a_principle_and_turns_round_for_its_negation() -> None:
    world = World.load()
    counts = np.zeros((3, 2, len(world.attributes)), dtype=np.int64)
    counts[:, 0, world.attributes.index("flattery")] = 3
    principle = find_principle("no-flattery")
    change = principle.change["flattery"]
    asked = [Told(principle, 1, "a"), Told(principle, -1, "b"), Told(find_principle("no-lists"), 1, "c")]
    plain = world.utility(counts.reshape(6, -1), bias=1).reshape(3, 2)
    by_hand = change.first + 2 * change.beyond
    np.testing.assert_allclose(
        told_utility(asked, world, counts, bias=1) - plain,
        np.array([[by_hand, 0], [-by_hand, 0], [0, 0]], dtype=np.float64),
    )


def test_held_out_wordings_stand_in_no_training_row() -> None:
    principles = read_principles()
    rows = {told.text for told in told_each(3000, seed=0)}
    assert rows == {told.text for told in all_told(principles, "wordings")}
    assert not rows & {told.text for told in all_told(principles, "held_out")}
    with pytest.raises(UnknownNameError, match=r"no principle named 'no-flatery'.*no-flattery"):
        find_principle("no-flatery")


def test_a_faulty_file_of_principles_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "principles.yaml"
    file.write_text("- {id: a, change: {x: {first: 1, beyond: 1}}, wordings: [b], held_out: [c]}", encoding="utf-8")
    with pytest.raises(DataError, match=r"principles\.yaml: 0\.negation: Field required"):
        read_principles(file)
    negation = "negation: {wordings: [d], held_out: [b]}"
    whole = f"- {{id: a, change: {{x: {{first: 1, beyond: 1}}}}, wordings: [b], held_out: [c], {negation}}}"
    file = tmp_path / "twice.yaml"
    file.write_text(whole, encoding="utf-8")
    with pytest.raises(DataError, match="'b' stands there twice"):
        read_principles(file)
