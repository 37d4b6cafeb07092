"""Self-training: which pairs are learned from, the penalty on disagreement, and what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from embrm import Features, Pairs, SelfTraining, load_model
from embrm.cli import run
from embrm.core.arrays import Array
from embrm.core.provenance import Provenance
from embrm.core.seen import TextHashes
from embrm.errors import DataError, OptionError
from embrm.heads.ensemble import Ensemble
from embrm.heads.gradient.split import targets
from embrm.heads.linear import Linear
from embrm.training.self_training import NoAgreementWarning, PseudoLabels, together

TWO = Ensemble(base=Linear(), members=2, diversity="embedder", views=("joint", "response"))
D = 8


def planted(n: int, *, seed: int, noise: float = 0.5) -> Pairs:
    """Return `n` labelled pairs whose reward shows in two views, each with noise of its own."""
    rng = np.random.default_rng(seed)
    quality = rng.normal(size=2 * n)
    w = np.linspace(-1, 1, D)
    views = {
        name: quality[:, None] * w * sign + rng.normal(size=(2 * n, D)) * noise
        for name, sign in (("joint", 1), ("response", -1))
    }
    rows = np.arange(2 * n).reshape(n, 2)
    first = quality[rows[:, 0]] > quality[rows[:, 1]]
    ordered = np.where(first[:, None], rows, rows[:, ::-1])
    return Pairs(Features(views, prompt=np.repeat(np.arange(n), 2)), ordered[:, 0], ordered[:, 1])


def shuffled(pairs: Pairs, *, seed: int) -> Pairs:
    turn = np.random.default_rng(seed).random(len(pairs)) < 0.5
    sides = np.where(turn, pairs.rejected, pairs.chosen), np.where(turn, pairs.chosen, pairs.rejected)
    return replace(pairs, chosen=sides[0], rejected=sides[1])


P = np.array([[0.9, 0.9, 0.3, 0.05, 0.6, 0.8], [0.8, 0.7, 0.8, 0.20, 0.55, 0.8]])


def test_agreement_by_hand() -> None:
    found = PseudoLabels.of(P, confidence=0.75)
    np.testing.assert_array_equal(found.agreed, [True, False, False, True, False, True])
    np.testing.assert_array_equal(found.disagreed, [False, False, True, False, False, False])
    np.testing.assert_allclose(found.consensus, [0.85, 0.8, 0.55, 0.125, 0.575, 0.8])


def test_the_pairs_that_are_learned_from_by_hand() -> None:
    features = planted(6, seed=0).features
    unlabelled = Pairs(features, np.arange(0, 12, 2), np.arange(1, 12, 2))
    found = PseudoLabels.of(P, confidence=0.75).pairs(unlabelled, weight=0.5, disagreement=0.2)
    listed = {
        (int(c), int(r)): w
        for part in found
        for c, r, w in zip(part.chosen, part.rejected, np.asarray(part.weight), strict=True)
    }
    expected = {(0, 1): 0.5, (10, 11): 0.5, (7, 6): 0.5, (4, 5): 0.2 * 0.55, (5, 4): 0.2 * 0.45}
    assert listed.keys() == expected.keys()
    np.testing.assert_allclose([listed[key] for key in expected], list(expected.values()))


def test_the_penalty_is_the_distance_from_the_consensus() -> None:
    # λ·p̄·(−log p) + λ·(1 − p̄)·(−log(1 − p)) = λ·KL(p̄‖p) + λ·H(p̄), whatever a head says.
    unlabelled = Pairs(planted(1, seed=0).features, np.array([0]), np.array([1]))
    parts = PseudoLabels.of(np.array([[0.3], [0.8]]), confidence=0.75).pairs(unlabelled, weight=1, disagreement=0.7)
    (won, lost), bar = [float(np.asarray(part.weight)[0]) for part in parts], 0.55
    for p in (0.1, 0.3, 0.55, 0.8):
        loss = -won * np.log(p) - lost * np.log(1 - p)
        kl = bar * np.log(bar / p) + (1 - bar) * np.log((1 - bar) / (1 - p))
        entropy = -bar * np.log(bar) - (1 - bar) * np.log(1 - bar)
        assert loss == pytest.approx(0.7 * (kl + entropy))


def accuracy(reward: Array, pairs: Pairs) -> float:
    return float((reward[pairs.chosen] > reward[pairs.rejected]).mean())


def test_unlabelled_pairs_help_where_labels_are_few() -> None:
    test, gains = planted(1500, seed=1, noise=1.5), []
    for seed in range(4):
        labelled = planted(100, seed=10 + seed, noise=1.5)
        more = shuffled(planted(1000, seed=20 + seed, noise=1.5), seed=0)
        done = SelfTraining(TWO, more).run(labelled, seed=seed)
        before, after = (accuracy(m.score(test.features).mean, test) for m in (done.first, done.model))
        gains.append(after - before)
        first, second = done.model.record["self_training"]
        assert first["of"] == 1000
        assert 0 < first["agreed"] < second["of"]
    assert np.mean(gains) > 0.01


def test_plain_self_training_is_each_head_with_labels_of_its_own() -> None:
    labelled, more = planted(60, seed=0), shuffled(planted(200, seed=1), seed=1)
    plain = SelfTraining(TWO, more, consistent=False, rounds=1, confidence=0.8)
    done = plain.run(labelled, seed=3)
    alone = []
    for view in TWO.views:  # each head by itself, in an ensemble of one view
        both = Ensemble(base=Linear(view=view), members=2)
        alone.append(SelfTraining(both, more, consistent=False, rounds=1, confidence=0.8).run(labelled, seed=3))
    draws = done.model.score(labelled.features).draws
    for k, other in enumerate(alone):
        np.testing.assert_allclose(draws[k], other.model.score(labelled.features).draws[k], rtol=1e-6)


def test_the_model_is_an_ensemble_that_is_saved(tmp_path: object) -> None:
    labelled, more = planted(60, seed=0), shuffled(planted(200, seed=1), seed=1)
    model = SelfTraining(TWO, more, rounds=1).fit(labelled, seed=0)
    folder = f"{tmp_path}/model"
    model.save(folder)
    again = load_model(folder)
    np.testing.assert_allclose(again.score(labelled.features).draws, model.score(labelled.features).draws, rtol=1e-6)
    assert again.record["self_training"] == model.record["self_training"]


def test_from_files_through_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    good, bad = ["clear", "exact", "kind", "useful"], ["vague", "rude", "empty", "sloppy"]

    def pair(i: int, *, known: bool) -> str:
        share = 3 + int(rng.integers(3))
        sides = ((good, bad), (bad, good))
        texts = [[*rng.choice(a, share), *rng.choice(b, 6 - share), str(rng.random())] for a, b in sides]
        first, second = texts if known or rng.random() < 0.5 else texts[::-1]
        return json.dumps({"prompt": f"Lamp {i // 2}?", "chosen": " ".join(first), "rejected": " ".join(second)})

    for name, n in (("prefs", 60), ("more", 80)):
        lines = [pair(i, known=name == "prefs") for i in range(n)]
        Path(f"{name}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    fit = ["fit", "prefs.jsonl", "--head", "linear", "--embedder", "hashing", "--embedder-set", "dimension=16"]
    assert run([*fit, "--unlabelled", "more.jsonl", "-o", "model"]) == 0
    model = load_model("model")
    assert model.widths == {"joint": 16, "response": 16}
    last = model.record["self_training"][-1]
    said = f"of 80 unlabelled pairs {last['agreed']} agreed about, {last['disagreed']} disagreed"
    assert said in capsys.readouterr().out
    assert model.seen is not None
    assert len(model.seen.prompts) > 24  # the labels are of 30 prompts, of which some are held out
    assert run([*fit, "--unlabelled", "more.jsonl", "--steps", "-o", "steps"]) == 2
    assert "--steps learns from labelled steps, and --unlabelled are pairs" in capsys.readouterr().err


def test_equal_prompts_of_two_files_have_one_number() -> None:
    def of(asked: list[str]) -> Pairs:
        answers = [f"{i} {asked[0]}" for i in range(len(asked))]
        features = Features(
            {"joint": np.random.default_rng(len(asked)).normal(size=(len(asked), 2))},
            prompt=np.unique(asked, return_inverse=True)[1],
            hashes=TextHashes.of(asked, answers),
        )
        return Pairs(features, np.arange(0, len(asked), 2), np.arange(1, len(asked), 2))

    one, two = together(of(["a", "a", "b", "b"]), of(["b", "b", "c", "c", "a", "a"]))
    assert one.features is two.features
    number = dict(zip("abbcab", one.features.prompt[[0, 2, 4, 6, 8, 2]].tolist(), strict=True))
    np.testing.assert_array_equal(one.features.prompt, [number[x] for x in "aabbbbccaa"])
    assert len(set(number.values())) == 3
    np.testing.assert_array_equal(two.chosen, [4, 6, 8])


def test_pseudo_labels_of_one_side_are_refused() -> None:
    labelled, more = planted(60, seed=0, noise=0), planted(200, seed=1, noise=0)  # in the order of their labels
    with pytest.raises(DataError, match=r"all \d+ pseudo-labels prefer the first text of their pair"):
        SelfTraining(TWO, more).fit(labelled, seed=0)
    turned = replace(more, chosen=more.rejected, rejected=more.chosen)
    with pytest.raises(DataError, match=r"all \d+ pseudo-labels prefer the second text of their pair"):
        SelfTraining(TWO, turned).fit(labelled, seed=0)


def test_without_agreement_the_labels_alone_are_learned_from() -> None:
    rng = np.random.default_rng(0)
    labelled, more = planted(60, seed=0), shuffled(planted(100, seed=1), seed=1)
    noise = {name: rng.normal(size=x.shape) for name, x in labelled.features.views.items()}
    useless = replace(labelled, features=replace(labelled.features, views=noise))
    with pytest.warns(NoAgreementWarning, match="none of 100 unlabelled pairs was labelled with confidence"):
        done = SelfTraining(TWO, more, confidence=0.99, disagreement=0).run(useless, seed=0)
    np.testing.assert_allclose(done.model.score(more.features).draws, done.first.score(more.features).draws)
    np.testing.assert_array_equal(targets(useless)[0], 1)  # weights of 1 are none


def test_what_cannot_be_is_refused() -> None:
    labelled, more = planted(60, seed=0), planted(100, seed=1)
    with pytest.raises(OptionError, match=r"confidence must be inside \(0\.5, 1\), got 0\.5"):
        SelfTraining(TWO, more, confidence=0.5)
    with pytest.raises(OptionError, match=r"weight must be > 0, disagreement >= 0 and rounds >= 1, got 0\.5, 0\.25, 0"):
        SelfTraining(TWO, more, rounds=0)
    with pytest.raises(OptionError, match="members with diversity 'rank_bonus' are trained together"):
        SelfTraining(Ensemble(diversity="rank_bonus", members=2), more).fit(labelled, seed=0)
    other = replace(more, features=replace(more.features, embedder=Provenance("another")))
    known = replace(labelled, features=replace(labelled.features, embedder=Provenance("one")))
    with pytest.raises(DataError, match="labelled and unlabelled pairs need one embedder and the same views"):
        SelfTraining(TWO, other).fit(known, seed=0)
