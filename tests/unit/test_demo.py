"""What the live page is told: numbers of `score`, `tilt` and `detect`, gold where it is known, and clear refusals."""

from __future__ import annotations

import base64
import http.client
import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embrm import bestofn, detectors, embedders, heads, read_pairs, selectors
from embrm.data.encode import encode
from embrm.data.faults import RowRules
from embrm.data.texts import read_texts
from embrm.demo import stages
from embrm.demo.live import LiveEmbedder
from embrm.demo.setting import MECHANISMS, FitSetting, Seat
from embrm.demo.stage import HEADS, ModelStage, WorldStage
from embrm.errors import DataError, OptionError
from embrm.evaluation.scorer import Scorer, own_embedder, score_rows
from embrm.monitoring import check_outputs
from embrm.world.runs import path_rows, scored_pool
from tests.small_demo import running, small_stage

SEATS = [{"head": "linear", "rule": "mean"}, {"head": "linear", "rule": "worst_case"}]
SETTING: dict[str, Any] = {"mechanism": "biased", "flips": 0.1, "pairs": 200}


@pytest.fixture(scope="module")
def stage() -> WorldStage:
    return small_stage()


@pytest.fixture(scope="module")
def address(stage: WorldStage) -> Iterator[str]:
    with running(stage) as address:
        yield address


def ask(address: str, path: str, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    connection = http.client.HTTPConnection(address.split("/")[2], timeout=60)
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection.request("POST", path, raw, {"Content-Type": "application/json", **headers})
    answer = connection.getresponse()
    found = answer.status, json.loads(answer.read())
    connection.close()
    return found


def refit(stage: WorldStage) -> heads.FittedHead:
    """Fit what the page should have fitted."""
    pairs = stage.sample.preferences(MECHANISMS["biased"], flips=0.1, pairs=200, seed=0)
    name, options = HEADS["linear"]
    return heads.get(name)(**options).fit(pairs, seed=0)


def some_texts(stage: WorldStage) -> list[list[str]]:
    first = stage.state()["prompts"][:4]
    style = stage.sample.world.spec.styles["flattery"]
    return [[p["text"], f"{p['start']} {' '.join(style[: i * 2])}".strip()] for i, p in enumerate(first)]


def test_rewards_are_those_of_score_and_distances_those_of_detect(stage: WorldStage, address: str) -> None:
    texts = some_texts(stage)
    status, told = ask(address, "/score", {"setting": SETTING, "seats": SEATS, "texts": texts})
    assert status == 200
    model, (prompts, responses) = refit(stage), zip(*texts, strict=True)
    features = encode(prompts, responses, embedder=stage.inner).features
    reward = model.score(features).centred()
    for seat, rule in zip(told["seats"], ("mean", "worst_case"), strict=True):
        value = selectors.get(rule)()(reward).value
        np.testing.assert_allclose([said["reward"] for said in seat], value, atol=1e-6)
        np.testing.assert_allclose([said["sd"] for said in seat], reward.sd, atol=1e-6)
    own = stage.sample.features["pools"].take(stage.sample.reference_rows.ravel())
    usual = model.score(own).centred()
    share = (usual.mean[:, None] < reward.mean).mean(axis=0)
    share_of = [said["percentile"] for said in told["seats"][0]]
    np.testing.assert_allclose(share_of, 100 * share, atol=0.05)  # a tie, within the last bit
    sides: dict[str, tuple[str, Any, Any]] = {
        "latent distance": ("mahalanobis", model.latent(own), model.latent(features)),
        "nearest neighbours": ("neighbours", model.latent(own), model.latent(features)),
        "disagreement": ("conformal", usual.sd, reward.sd),
        "length": ("conformal", own.length, features.length),
    }
    for name, (detector, x, y) in sides.items():
        verdict = detectors.get(detector)().fit(x, prompt=own.prompt, seed=0).check(y)
        assert verdict.p_values is not None
        assert verdict.flagged is not None
        for i, said in enumerate(told["seats"][0]):
            found = said["detectors"][name]
            assert (found["score"], found["p"]) == pytest.approx((verdict.scores[i], verdict.p_values[i]), abs=1e-6)
            assert found["alarm"] == verdict.flagged[i]


def test_the_path_is_that_of_tilt(stage: WorldStage, address: str) -> None:
    status, told = ask(address, "/path", {"setting": SETTING, "seats": SEATS[:1]})
    assert status == 200
    pool = scored_pool(refit(stage), stage.sample)
    path = pool.path()
    for shown, row in zip(told["seats"][0]["rows"], path_rows(path), strict=True):
        for name in ("kl", "proxy", "gold", "ess", "reliable"):
            assert shown[name] == pytest.approx(row[name], abs=1e-6)
    best, own = told["seats"][0]["best"], stage.sample.reference_rows
    curve = bestofn.curve(
        refit(stage).score(stage.sample.features["pools"]).centred().mean[own], stage.sample.gold[own], best["n"]
    )
    np.testing.assert_allclose(best["gold"], curve.gold, atol=1e-6)
    eta, prompt = told["seats"][0]["rows"][20]["inverse_beta"], stage.state()["prompts"][3]["text"]
    status, point = ask(
        address, "/point", {"setting": SETTING, "seats": SEATS[:1], "inverse_beta": eta, "prompt": prompt}
    )
    assert status == 200
    share = pool.weights(eta)
    np.testing.assert_allclose(point["means"], np.einsum("pn,pna->a", share, pool.counts) / len(share), atol=1e-6)
    assert point["gold"] == pytest.approx(path_rows(path)[20]["gold"], abs=1e-6)
    assert point["samples"][0]["proxy"] <= point["samples"][1]["proxy"] <= point["samples"][2]["proxy"]
    for sample in point["samples"]:
        assert stage.gold(prompt, sample["text"])["gold"] == pytest.approx(sample["gold"])
        said = stage.say(FitSetting(**SETTING), Seat("linear"), [(prompt, sample["text"])])
        assert said[0]["reward"] == pytest.approx(sample["proxy"], abs=1e-6)
    status, start = ask(address, "/point", {"setting": SETTING, "seats": SEATS[:1], "inverse_beta": 0})
    assert (status, start["kl"]) == (200, pytest.approx(0, abs=1e-9))


def test_a_keystroke_costs_little(stage: WorldStage) -> None:
    prompt, seconds = stage.state()["prompts"][0], []
    for i in range(40):
        began = time.process_time()  # of this process alone: what a reader waits for where nothing else runs
        stage.say(stage.usual, Seat("linear"), [(prompt["text"], f"{prompt['start']} {i}")])
        seconds.append(time.process_time() - began)
    assert np.quantile(seconds[2:], 0.95) < 0.06


def test_gold_is_known_where_every_sentence_is_the_worlds(stage: WorldStage) -> None:
    topics = stage.sample.world.spec.topics
    prompt, other = topics[0].questions[1], topics[1]
    known = stage.gold(prompt, f"{topics[0].correct[0]}\n {topics[0].wrong[1]} ")
    effect = stage.sample.world.spec.gold
    assert known["gold"] == pytest.approx(effect["correct"].first + effect["wrong"].first)
    assert (known["counts"]["correct"], known["counts"]["wrong"]) == (1, 1)
    flattery = stage.sample.world.spec.styles["flattery"]
    for asked, said, why in (
        ("Something else?", topics[0].correct[0], "the prompt is not"),
        (prompt, "My own words.", "a sentence is not"),
        (prompt, other.correct[0], "a sentence is not"),  # right, but no answer to this
        (prompt, " ".join(flattery[:9]), "more of one kind"),
    ):
        found = stage.gold(asked, said)
        assert (found["gold"], why in found["why"]) == (None, True)


def test_refits_follow_the_annotators(address: str) -> None:
    text = [["A question of my own?", "What a wonderfully thoughtful question this is."]]
    rewards = {}
    for mechanism in ("fair", "biased", "confounded", "narrow"):
        body = {"setting": {"mechanism": mechanism, "flips": 0.0, "pairs": 200}, "seats": SEATS[:1], "texts": text}
        status, told = ask(address, "/score", body)
        assert status == 200, told
        rewards[mechanism] = told["seats"][0][0]["reward"]
        assert told["gold"][0]["gold"] is None
    assert rewards["biased"] > rewards["fair"]
    assert len(set(rewards.values())) == 4


GOOD = {"setting": SETTING, "seats": SEATS, "texts": [["a", "b"]]}
BAD: dict[str, tuple[str, Any, int, str]] = {
    "no JSON": ("/score", b"{", 400, "not JSON"),
    "no seat": ("/score", {**GOOD, "seats": []}, 400, "one to three heads"),
    "four seats": ("/score", {**GOOD, "seats": SEATS * 2}, 400, "one to three heads"),
    "a seat of numbers": ("/score", {**GOOD, "seats": [3]}, 400, "a seat must be such as"),
    "no such head": ("/score", {**GOOD, "seats": [{"head": "oracle"}]}, 400, "no head called 'oracle'"),
    "no such rule": ("/score", {**GOOD, "seats": [{"head": "linear", "rule": "best"}]}, 400, "no rule 'best'"),
    "no texts": ("/score", {**GOOD, "texts": "a"}, 400, "one to twenty"),
    "numbers": ("/score", {**GOOD, "texts": [["a", 1]]}, 400, "a prompt and a response"),
    "half a character": ("/score", {**GOOD, "texts": [["a", "\ud800"]]}, 400, "surrogate pair"),
    "long": ("/score", {**GOOD, "texts": [["a", "b" * 20_001]]}, 400, "20001 characters, and at most 20000"),
    "a megabyte": ("/score", {**GOOD, "texts": [["a", "b" * (1 << 20)]]}, 413, "at most 262144 are read"),
    "no annotators": ("/score", {**GOOD, "setting": {"mechanism": "x"}}, 400, "no annotators called 'x'"),
    "too noisy": ("/score", {**GOOD, "setting": {"flips": 0.7}}, 400, "flips must be a number inside"),
    "no noise": ("/score", {**GOOD, "setting": {"flips": "x"}}, 400, "flips must be a number inside"),
    "many pairs": ("/score", {**GOOD, "setting": {"pairs": 10**9}}, 400, "pairs must be a whole number from 50"),
    "a setting more": ("/score", {**GOOD, "setting": {"bias": 2}}, 400, "setting must have mechanism"),
    "a setting of none": ("/score", {**GOOD, "setting": 3}, 400, "setting must have mechanism"),
    "no β": ("/point", GOOD, 400, "inverse_beta must be a number from 0"),
    "β of text": ("/point", {**GOOD, "inverse_beta": "x"}, 400, "inverse_beta must be a number from 0"),
    "β below": ("/point", {**GOOD, "inverse_beta": -1}, 400, "inverse_beta must be a number from 0"),
    "β beyond": ("/point", {**GOOD, "inverse_beta": 1e9}, 400, "the path's end"),
    "a result": ("/result", {"row": {"reward": [1], "gold": "x"}}, 400, "each before and after"),
    "nothing": ("/elsewhere", {}, 404, "there is nothing here"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_requests_have_clear_answers(name: str, address: str) -> None:
    path, body, status, message = BAD[name]
    found = ask(address, path, body)
    assert found[0] == status
    assert message in found[1]["error"]


def test_results_of_a_class_are_kept(address: str) -> None:
    row = {"name": "<b>Ada</b>", "reward": [0.0, 1.5], "gold": [2.0, -1], "alarm": 4}
    assert ask(address, "/result", {"row": row})[1]["rows"][-1] == row
    assert ask(address, "/result", {})[1]["rows"][-1] == row


def test_the_page_is_sent_with_a_strict_policy_to_its_own_origin_alone(address: str) -> None:
    host = address.split("/")[2]
    for path, kind in (("/", "text/html"), ("/app.js", "text/javascript"), ("/style.css", "text/css")):
        connection = http.client.HTTPConnection(host, timeout=30)
        connection.request("GET", path)
        answer = connection.getresponse()
        policy = answer.getheader("Content-Security-Policy", "")
        assert (answer.status, answer.getheader("Content-Type", "").partition(";")[0]) == (200, kind)
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert answer.getheader("X-Frame-Options") == "DENY"
        assert len(answer.read()) > 500
        connection.close()
    assert ask(address, "/state", {}, Origin="http://evil.example")[0] == 403
    assert ask(address, "/state", {}, Host="evil.example")[0] == 403
    assert ask(address, "/state", {}, Origin=f"http://{host}")[0] == 200


def test_a_password_is_asked_for_in_the_way_that_browsers_know(stage: WorldStage) -> None:
    with running(stage, token="s3cret") as address:
        connection = http.client.HTTPConnection(address.split("/")[2], timeout=30)
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert (answer.status, answer.getheader("WWW-Authenticate")) == (401, 'Basic realm="embrm"')
        connection.close()
        known = "Basic " + base64.b64encode(b"anybody:s3cret").decode()
        assert ask(address, "/state", {}, Authorization=known)[0] == 200


def test_texts_that_are_written_are_not_cached_on_disk() -> None:
    inner = embedders.get("hashing")(dimension=64)
    live, texts = LiveEmbedder(inner), ["one", "two", "one"]
    np.testing.assert_array_equal(live.embed(texts).vectors, inner.embed(texts).vectors)
    assert live.identity == inner.identity


@pytest.fixture
def own(tmp_path: Path) -> Path:
    rows = [
        {"prompt": f"How do I mend lamp {i}?", "chosen": f"Turn it off, step {i}.", "rejected": f"Never mind {i}."}
        for i in range(60)
    ]
    (tmp_path / "prefs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    pairs = read_pairs(tmp_path / "prefs.jsonl", embedder=embedders.get("hashing")(dimension=32))
    heads.get("mlp")(members=2, hidden=(8, 4), epochs=3).fit(pairs, seed=0).save(tmp_path / "model")
    pairs = read_pairs(tmp_path / "prefs.jsonl", features=np.random.default_rng(0).normal(size=(120, 32)))
    heads.get("linear")().fit(pairs, seed=0).save(tmp_path / "bare")
    return tmp_path


def open_model(folder: Path, name: str, **reading: Any) -> ModelStage:
    from embrm.data.encode import embedder_of

    return stages.of_model(
        str(folder / name),
        str(folder / "prefs.jsonl"),
        reading=(lambda model: reading) if reading else own_embedder,
        of=embedder_of,
        rules=RowRules(),
    )


def test_a_model_of_ones_own(own: Path) -> None:
    stage = open_model(own, "model")
    (own / "texts.jsonl").write_text(json.dumps({"prompt": "How do I mend lamp 7?", "response": "Turn it on."}))
    scorer = Scorer.open(str(own / "model"))
    texts = read_texts(own / "texts.jsonl")
    row = score_rows(texts, scorer.reward(texts), draws=False)[0]
    with running(stage) as address:
        state = ask(address, "/state", {})[1]
        assert (state["world"], list(state["heads"]), len(state["prompts"])) == (False, ["model"], 60)
        body = {"seats": [{"head": "model"}], "texts": [["How do I mend lamp 7?", "Turn it on."]]}
        said = ask(address, "/score", body)[1]
        assert ask(address, "/path", body)[0] == 404
        assert ask(address, "/score", {**body, "seats": [{"head": "x"}]})[0] == 400
    assert said["gold"][0]["gold"] is None
    found = said["seats"][0][0]
    assert (found["reward"], found["sd"]) == pytest.approx((row["score"], row["sd"]), abs=1e-6)
    recipes = {"mahalanobis": detectors.get("mahalanobis")()}
    told = check_outputs(recipes, scorer, read_texts(own / "prefs.jsonl"), texts, spaces=["latent"], seed=0)[0].verdict
    assert found["detectors"]["latent distance"]["score"] == pytest.approx(told.scores[0], abs=1e-6)


def test_models_and_references_that_cannot_be(own: Path) -> None:
    with pytest.raises(OptionError, match="does not say what embedded its training texts"):
        open_model(own, "bare")
    with pytest.raises(DataError, match="width 32, these have 16"):
        open_model(own, "model", features=np.zeros((120, 16)))


def test_a_head_that_asks_comparisons_shows_those_that_voted(stage: WorldStage) -> None:
    setting, seat = FitSetting(mechanism="biased", flips=0.1, pairs=200), Seat("retrieval")
    pairs = stage.sample.preferences(MECHANISMS["biased"], flips=0.1, pairs=200, seed=0)
    written = stage.sample.responses["training"]
    row = int(pairs.chosen[7])
    (said,) = stage.say(setting, seat, [(written.prompts[row], written.texts[row])])
    model = heads.get("retrieval")().fit(pairs, seed=0)
    (own,) = model.evidence(pairs.features.take([row]), most=3)  # type: ignore[attr-defined]
    assert said["evidence"]["abstains"] is False
    assert [vote["pair"] for vote in said["evidence"]["votes"]] == [vote.pair for vote in own.votes]
    np.testing.assert_allclose(
        [v["weight"] for v in said["evidence"]["votes"]], [v.weight for v in own.votes], rtol=1e-3
    )
    for vote in said["evidence"]["votes"]:
        i, j = int(pairs.chosen[vote["pair"]]), int(pairs.rejected[vote["pair"]])
        assert (vote["prompt"], vote["chosen"], vote["rejected"]) == (
            written.prompts[i],
            written.texts[i],
            written.texts[j],
        )
    (plain,) = stage.say(setting, Seat("linear"), [(written.prompts[row], written.texts[row])])
    assert plain["evidence"] is None
    assert stage.state()["heads"]["retrieval"] == ["mean"]
