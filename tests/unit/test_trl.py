"""A head as TRL's reward function: against the head and the rules themselves, and what TRL may hand over."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from embrm import detectors, embedders, heads, read_pairs, selectors
from embrm.core.data import Provenance
from embrm.core.trajectory import Step, Trajectory
from embrm.data.encode import TruncationWarning
from embrm.data.texts import Texts, read_texts
from embrm.embedders import provenance_of
from embrm.errors import DataError, OptionError
from embrm.evaluation.scorer import Scorer
from embrm.heads import FittedHead
from embrm.integrations.trl import RewardFunction, SharedNameWarning
from embrm.monitoring import Alarm, AlarmRule, AlarmWarning, watch_run
from tests.tiny_model import LIMIT, make_tiny_model

PREFS = Path(__file__).parents[2] / "data" / "answers" / "prefs.jsonl"
EMBEDDER = embedders.get("hashing")(dimension=64)
PROMPTS = ["How do I boil an egg?", "How do I boil an egg?", "Why is the sky blue?"]
ANSWERS = ["Six minutes, then cold water.", "", "Air scatters blue light."]


@pytest.fixture(scope="module")
def model() -> FittedHead:
    return heads.get("mlp")(members=3, hidden=(8,), epochs=2).fit(read_pairs(PREFS, embedder=EMBEDDER), seed=0)


@pytest.fixture(scope="module")
def reference() -> Texts:
    return read_texts(PREFS)


def vectors(prompts: list[str], answers: list[str]) -> np.ndarray:
    return EMBEDDER.embed([f"{p}\n\n{a}" for p, a in zip(prompts, answers, strict=True)]).vectors


@pytest.mark.parametrize(
    "name", [name for name in selectors.names() if name not in ("imitation", "penalised", "robust", "thompson")]
)
def test_the_reward_is_the_value_of_any_selector(name: str, model: FittedHead) -> None:
    rule = selectors.get(name)()
    found = RewardFunction(model, EMBEDDER, selector=rule)(prompts=PROMPTS, completions=ANSWERS)
    pools = [0, 2, 3]  # a run of one prompt is one
    expected = rule(model.score(vectors(PROMPTS, ANSWERS)).centred(), offsets=pools, seed=1).value
    np.testing.assert_allclose(np.array(found, float), expected, rtol=1e-5)
    assert all(type(value) is float for value in found)


def test_robust_values_the_draws_and_sigmas_of_brme() -> None:
    brme = heads.get("brme")(trunk=heads.get("mlp")(hidden=(4,), epochs=1)).fit(
        read_pairs(PREFS, embedder=EMBEDDER), seed=0
    )
    rule = selectors.get("robust")()
    found = RewardFunction(brme, EMBEDDER, selector=rule)(PROMPTS, ANSWERS)
    np.testing.assert_allclose(np.array(found, float), rule(brme.score(vectors(PROMPTS, ANSWERS))).value, rtol=1e-5)


def test_thompson_draws_a_member_for_each_prompt_and_batch(model: FittedHead) -> None:
    draws = model.score(vectors(PROMPTS, ANSWERS)).centred().draws
    reward = RewardFunction(model, EMBEDDER, selector=selectors.get("thompson")())
    found = np.array([reward(PROMPTS, ANSWERS) for _ in range(40)])
    taken = np.abs(found[:, None] - draws).argmin(axis=1)
    np.testing.assert_allclose(np.take_along_axis(draws, taken, axis=0), found, rtol=1e-5)
    assert (taken[:, 0] == taken[:, 1]).all()  # two answers to one prompt are compared by one member
    assert {tuple(pair) for pair in taken[:, 1:].tolist()} == {(i, j) for i in range(3) for j in range(3)}


def test_the_mean_is_taken_without_a_selector(model: FittedHead) -> None:
    found = RewardFunction(model, EMBEDDER)(PROMPTS, ANSWERS)
    np.testing.assert_allclose(np.array(found, float), model.score(vectors(PROMPTS, ANSWERS)).centred().mean, rtol=1e-5)


def test_the_penalty_is_the_weighted_mahalanobis_distance_in_the_latent(model: FittedHead, reference: Texts) -> None:
    from scipy.spatial.distance import mahalanobis
    from sklearn.covariance import LedoitWolf

    plain = RewardFunction(model, EMBEDDER)
    logged: dict[str, Any] = {}
    paid = plain.penalised_by(detectors.get("mahalanobis")(), reference, weight=0.5)(
        PROMPTS, ANSWERS, log_metric=logged.__setitem__, log_extra=logged.__setitem__
    )
    usual = LedoitWolf().fit(model.latent(vectors(reference.prompts, reference.responses)).astype(np.float64))
    latents = model.latent(vectors(PROMPTS, ANSWERS))
    distance = [mahalanobis(z, usual.location_, usual.precision_) for z in latents]
    np.testing.assert_allclose(
        np.array(plain(PROMPTS, ANSWERS), float) - np.array(paid, float), 0.5 * np.array(distance), rtol=1e-3
    )
    np.testing.assert_allclose(logged["mlp/penalty"], distance, rtol=1e-3)
    np.testing.assert_allclose(logged["embrm/mlp/penalty"], np.mean(distance), rtol=1e-3)


def test_messages_count_as_their_text(model: FittedHead) -> None:
    reward = RewardFunction(model, EMBEDDER)
    prompts = [[{"role": "user", "content": text}] for text in PROMPTS]
    answers = [[{"role": "assistant", "content": text}] for text in ANSWERS]
    assert reward(prompts, answers) == reward(PROMPTS, ANSWERS)


def test_none_gives_none_and_an_empty_completion_the_reward_of_an_empty_text(model: FittedHead) -> None:
    reward, extra = RewardFunction(model, EMBEDDER), dict[str, Any]()
    call = [{"role": "assistant", "content": None, "tool_calls": [{"type": "function"}]}]
    completions = [None, "", call, [*call, {"role": "assistant", "content": "Air."}]]
    found = reward(["Why?"] * 4, completions, log_extra=extra.__setitem__)
    assert found[0] is None
    assert found[2] is None
    said = np.array(reward(["Why?"] * 2, ["", "Air."]), float)
    np.testing.assert_allclose(np.array([found[1], found[3]], float), said, rtol=1e-5)
    assert [value is None for value in extra["mlp/uncertainty"]] == [True, False, True, False]
    assert reward(["Why?"] * 2, [None, None]) == [None, None]
    assert reward.seen is None


def test_uncertainty_is_logged_as_trl_logs(model: FittedHead) -> None:
    metrics, columns = dict[str, float](), dict[str, list[Any]]()
    more: dict[str, Any] = {"completion_ids": [[1]] * 3, "trainer_state": object(), "topic": ["a", "b", "c"]}
    RewardFunction(model, EMBEDDER)(
        prompts=PROMPTS, completions=ANSWERS, log_metric=metrics.__setitem__, log_extra=columns.__setitem__, **more
    )
    sd = model.score(vectors(PROMPTS, ANSWERS)).centred().sd
    np.testing.assert_allclose(columns["mlp/uncertainty"], sd, rtol=1e-5)
    assert metrics == {"embrm/mlp/uncertainty": pytest.approx(sd.mean(), rel=1e-5), "embrm/mlp/cut": 0.0}


def test_a_name_is_given_or_is_that_of_the_folder_or_the_head(model: FittedHead, tmp_path: Path) -> None:
    model.save(tmp_path / "style")
    assert RewardFunction(tmp_path / "style").__name__ == "style"
    assert RewardFunction(f"{tmp_path}/style/").__name__ == "style"
    assert RewardFunction(model).__name__ == "mlp"
    named = RewardFunction(model, EMBEDDER, name="helpful")
    for reward in (
        named,
        pickle.loads(pickle.dumps(named)),
        named.watched_by(detectors.get("csi")(), read_texts(PREFS)),
    ):
        assert reward.__name__ == "helpful"
    named.__name__ = "other"  # as one names any function for TRL
    assert (named.name, named.__name__) == ("other", "other")
    with pytest.raises(OptionError, match="name must not be empty"):
        RewardFunction(model, name="")


def test_one_name_for_two_functions_of_a_trainer_is_told_once(model: FittedHead) -> None:
    class Trainer:
        reward_func_names: ClassVar[list[str]] = ["mlp", "style", "mlp"]

        def log_metric(self, name: str, value: float) -> None:
            pass

    reward = RewardFunction(model, EMBEDDER)
    with pytest.warns(SharedNameWarning, match="2 reward functions are called 'mlp', .* give each a name of its own"):
        reward(PROMPTS, ANSWERS, log_metric=Trainer().log_metric)
    reward(PROMPTS, ANSWERS, log_metric=Trainer().log_metric)
    RewardFunction(model, EMBEDDER, name="style")(PROMPTS, ANSWERS, log_metric=Trainer().log_metric)


@pytest.mark.parametrize("folder", [True, False])
def test_a_pickle_gives_the_same_rewards(folder: bool, model: FittedHead, reference: Texts, tmp_path: Path) -> None:
    model.save(tmp_path / "model")
    reward = RewardFunction(tmp_path / "model" if folder else model, EMBEDDER)
    if folder:
        assert len(pickle.dumps(reward)) < 1000
    reward = reward.penalised_by(detectors.get("mahalanobis")(), reference, weight=0.5)
    reward = reward.watched_by(detectors.get("csi")(), reference)
    expected = reward(PROMPTS, ANSWERS)
    back = pickle.loads(pickle.dumps(reward))
    assert back(PROMPTS, ANSWERS) == expected
    assert back.alarm is not None
    assert reward.alarm is not None
    first = reward.alarm.trace.statistic
    np.testing.assert_array_equal(back.alarm.trace.statistic, np.tile(first, 2))  # the history of the run goes along


def test_the_embedder_is_the_model_s_own_unless_given(model: FittedHead) -> None:
    with pytest.raises(OptionError, match="does not say what embedded"):
        RewardFunction(replace(model, embedder=Provenance()))(PROMPTS, ANSWERS)
    own = replace(model, embedder=provenance_of(EMBEDDER))
    assert RewardFunction(own)(PROMPTS, ANSWERS) == RewardFunction(model, EMBEDDER)(PROMPTS, ANSWERS)


@pytest.mark.parametrize(
    ("prompts", "completions", "message"),
    [
        (["a", "b"], ["c"], "every completion needs its prompt, got 2 prompts for 1"),
        (["a"], [3], "completion 0 of the batch must be text or a list of messages"),
        (["a"], [["b"]], "completion 0 of the batch must hold messages"),
        ([3], ["a"], "prompt 0 of the batch must be text"),
    ],
)
def test_what_is_no_text_is_refused(
    prompts: list[Any], completions: list[Any], message: str, model: FittedHead
) -> None:
    with pytest.raises(DataError, match=message):
        RewardFunction(model, EMBEDDER)(prompts, completions)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda r, t: RewardFunction(r.model, selector=selectors.get("penalised")()), "needs a penalty"),
        (lambda r, t: r.penalised_by(detectors.get("mahalanobis")(), t, weight=-1.0), "weight must be >= 0"),
        (lambda r, t: r.penalised_by(detectors.get("csi")(), t, weight=1.0), "'csi' gives no row a score"),
        (lambda r, t: r.watched_by(detectors.get("mahalanobis")(alpha=1e-6), t), "alpha 1e-06 is below"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    make: Callable[[RewardFunction, Texts], object], message: str, model: FittedHead, reference: Texts
) -> None:
    with pytest.raises(OptionError, match=message):
        make(RewardFunction(model, EMBEDDER), reference)


@pytest.mark.parametrize("name", ["csi", "mop", "mahalanobis", "mmd"])
def test_an_alarm_fires_where_detect_says_it_does_on_the_recorded_run(
    name: str, model: FittedHead, reference: Texts, tmp_path: Path
) -> None:
    rng, run = np.random.default_rng(0), Trajectory(tmp_path / "run")
    recipe = detectors.get(name)(**({"alpha": 0.1} if name in ("mop", "mahalanobis") else {}))
    usual = RewardFunction(model, EMBEDDER).latent(reference)
    alarm, found = Alarm(recipe, usual, reference, rule=AlarmRule(level=0.2)), []
    for step in range(14):
        # Every text answers a prompt of its own that the reference lacks, as `watch_run` takes it.
        prompts = [f"new {step} {i}" for i in range(8)]
        latents = usual[rng.choice(len(usual), 8)] + (step >= 10) * 5 * np.ptp(usual, axis=0)
        found.append(alarm.see(latents, prompts).statistic)
        assert step >= 10 or alarm.fired is None
        run.add(Step(step, step / 10, 1.0, 0.0, float(step), {}, [], [], latents))
    scorer = Scorer("", model, lambda _: {"embedder": EMBEDDER})
    rule = AlarmRule(level=0.2)
    expected = watch_run({name: recipe}, scorer, reference, tmp_path / "run", spaces=["latent"], rule=rule, seed=0)[0]
    np.testing.assert_allclose(np.array(found, float), expected.statistic, rtol=1e-4)
    assert alarm.fired == expected.alarm
    assert alarm.fired in range(10, 14)


def test_an_alarm_is_logged_from_where_it_fired_on(model: FittedHead, reference: Texts) -> None:
    csi = detectors.get("csi")(eps=0.1)
    rule = AlarmRule("threshold", limit=-0.1, window=1)
    reward = RewardFunction(model, EMBEDDER).watched_by(csi, reference, rule=rule)
    assert reward.alarm is not None
    metrics: list[tuple[str, float]] = []
    for texts in ([f"zzz {i} " * 9 for i in range(6)], reference.responses[:6], [f"zzz {i} " * 9 for i in range(6)]):
        reward(["new"] * 6, texts, log_metric=lambda *pair: metrics.append(pair))
    statistic, alarm = ([v for n, v in metrics if n == f"embrm/mlp/{name}"] for name in ("statistic", "alarm"))
    assert [value > -0.1 for value in statistic] == [False, True, False]
    assert alarm == [0.0, 1.0, 1.0]
    assert reward.alarm.fired == 1


def test_rows_of_a_prompt_count_as_one_and_known_prompts_are_told(model: FittedHead, reference: Texts) -> None:
    latents = RewardFunction(model, EMBEDDER).latent(reference)
    detector = detectors.get("mahalanobis")(alpha=0.1)
    alone, group = (Alarm(detector, latents, reference) for _ in range(2))
    far = latents[:1] + 5 * np.ptp(latents, axis=0)
    p = [alarm.see(np.repeat(far, 8, axis=0), prompts).details["p_value"]
         for alarm, prompts in ((alone, [f"new {i}" for i in range(8)]), (group, ["new"] * 8))]  # fmt: skip
    assert p[0] < p[1]  # eight independent witnesses against one
    with pytest.warns(AlarmWarning, match="answer prompts that the detector learnt"):
        Alarm(detector, latents, reference).see(latents, reference.prompts)


def test_texts_that_are_cut_are_counted_always_and_told_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBRM_CACHE", str(tmp_path / "cache"))
    reader = embedders.get("sentence_transformer")(model=str(make_tiny_model(tmp_path / "tiny")))
    shape = reader.embed(["a"]).vectors.shape[1]
    rng = np.random.default_rng(0)
    from embrm.core.data import Pairs

    pairs = Pairs.from_arrays(rng.normal(size=(40, shape)), chosen=np.arange(20), rejected=np.arange(20, 40))
    reward, cut = RewardFunction(heads.get("linear")().fit(pairs, seed=0), reader), list[float]()

    def log(name: str, value: float) -> None:
        if name == "embrm/linear/cut":
            cut.append(value)

    reward(["a"], ["b"], log_metric=log)
    with pytest.warns(TruncationWarning, match="1 of 2 texts are longer"):
        reward(["a", "a"], ["word " * LIMIT, "b"], log_metric=log)
    reward(["a", "a"], ["word " * LIMIT, "more " * LIMIT], log_metric=log)
    assert cut == [0.0, 0.5, 1.0]
