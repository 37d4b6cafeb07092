"""`embrm rl --policy causal_lm`: a tiny language model trained against a head, watched, stopped, and refused."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from embrm import detectors
from embrm.core.arrays import Array
from embrm.core.trajectory import Step, Trajectory
from embrm.data.encode import embedder_of, encode
from embrm.data.texts import read_texts
from embrm.embedders import static
from embrm.heads import load_model
from embrm.world import World
from tests.cli.conftest import Result
from tests.tiny_models import reward_model

Run = Callable[..., Result]
BASE = ("rl", "model", "--policy", "causal_lm", "--lm", "lm", "--prompts", "prefs.jsonl", "-o", "trained")
TINY = ("--batch", "8", "--group", "4", "--max-new-tokens", "8", "--learning-rate", "0.003")
# What TRL 1.16 calls is deprecated in transformers 5.23.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`(is_)?gradient_checkpointing(_enable|_disable)?` is deprecated:FutureWarning"
)


def test_a_run_is_recorded_drawn_and_can_go_on_from_its_policy(embrm: Run) -> None:
    more = ("--gold", "rm", "--latent-penalty", "0.5", "--reference", "prefs.jsonl")
    first = embrm(*BASE, *TINY, *more, "--steps", "3", "--latents", "--set", "temperature=0.9", "--json")
    assert first.code == 0
    run = Trajectory.load("trained")
    assert first.json["steps"] == len(run) == 3
    assert first.json["last"] == [2, *(getattr(run.steps[2], name) for name in ("kl", "proxy", "gold"))]
    assert np.isfinite(run.series("gold")).all()
    assert first.json["cut"] == run.steps[2].cut > 0.5  # an untrained model hardly ever ends a text
    assert all(step.latent is not None and len(step.latent) == 8 for step in run.steps)
    assert Path("trained", "trajectory.svg").exists()
    base = [word if word != "lm" else "trained/policy" for word in BASE[:-1]]
    again = embrm(*base, "again", *TINY, "--steps", "1", "--selector", "worst_case")
    assert again.code == 0
    assert "figure: again/trajectory.svg" in again.out
    assert "of the last texts were cut off at --max-new-tokens" in again.out
    assert "–" in again.out  # gold is not known


def test_an_alarm_stops_the_run_with_exit_code_3(embrm: Run) -> None:
    watch = ("--stop-on-alarm", "--detector", "neighbours:alpha=0.1", "--reference", "prefs.jsonl")
    result = embrm(*BASE, *TINY, *watch, "--steps", "9", "--json")
    assert (result.code, result.json["alarm"] + 1) == (3, result.json["steps"])
    always = ("--onset", "threshold", "--limit=-1")
    assert embrm(*BASE[:-1], "first", *TINY, *watch, *always, "--steps", "2", "--json").json["alarm"] == 0
    result = embrm(*BASE[:-1], "other", *TINY, *watch[1:], "--steps", "9")
    assert result.code == 3
    assert "ALARM at step" in result.out
    assert len(Trajectory.load("other")) == 9


def test_the_world_s_own_model_is_trained_against_a_head_made_on_the_spot(embrm: Run) -> None:
    words = ("rl", "--policy", "causal_lm", "--lm", "world", "--head", "linear", "--pairs", "200", "--bias", "1")
    watch = ("--detector", "mahalanobis", "--latent-penalty", "0.1", "--embedder", "hashing")
    result = embrm(*words, *watch, "-o", "trained", "--steps", "2", "--batch", "8", "--max-new-tokens", "12", "--json")
    assert result.code in (0, 3), result.err
    run = Trajectory.load("trained")
    assert list(run.steps[0].means) == [*World.load().attributes, "unknown"]
    assert np.isfinite(run.series("gold")).all()
    assert run.series("kl")[0] == 0 < run.series("kl")[1]
    assert Path("trained", "preferences.jsonl").exists()
    assert embrm("score", "trained/head", "trained/preferences.jsonl").code == 0


def test_pairs_of_equal_answers_are_left_out(embrm: Run) -> None:
    """Of 80 confounded pairs one has twice the same short answer."""
    words = ("rl", "--head", "linear", "--pairs", "80", "--confounding", "2", "--seed", "8", "--embedder", "hashing")
    result = embrm(*words, "-o", "trained", "--steps", "1", "--batch", "4")
    assert result.code == 0, result.err
    assert len(Path("trained", "preferences.jsonl").read_text(encoding="utf-8").splitlines()) == 79


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("--selector", "worst_case"), lambda seen: seen.min(axis=0)),
        (("--selector", "uncertainty_weighted:weight=0.5"), lambda seen: seen.mean(axis=0) - 0.5 * seen.var(axis=0)),
        (("--latent-penalty", "0.1"), None),
        (("--stop-on-alarm", "--onset", "threshold", "--limit=-1"), lambda seen: seen.mean(axis=0)),
    ],
)
def test_each_defence_makes_the_reward_of_the_world_s_own_model(
    words: tuple[str, ...], expected: Callable[[Array], Array] | None, embrm: Run
) -> None:
    base = ("rl", "--policy", "causal_lm", "--lm", "world", "--head", "mlp:members=3,epochs=2", "--pairs", "200")
    more = ("--embedder", "hashing", "-o", "trained", "--steps", "2", "--batch", "8", "--max-new-tokens", "24")
    result = embrm(*base, *words, *more, "--latents", "--json")
    stops = "--stop-on-alarm" in words
    assert result.code == (3 if stops else 0), result.err
    run = Trajectory.load("trained")
    assert (len(run), result.json["alarm"]) == ((1, 0) if stops else (2, None))
    model = load_model("trained/head")
    for step in run.steps:
        asked, texts = ([row[name] for row in step.sample] for name in ("prompt", "text"))
        features = encode(asked, texts, embedder=embedder_of(model), views=model.widths).features
        seen = model.score(features).centred().draws
        if expected is not None:
            np.testing.assert_allclose([row["proxy"] for row in step.sample], expected(seen), rtol=1e-4, atol=1e-5)
            continue
        reference = read_texts("trained/preferences.jsonl")
        told = encode(reference.prompts, reference.responses, embedder=embedder_of(model), views=model.widths)
        x, y = model.latent(told.features), model.latent(features)
        distance = detectors.get("mahalanobis")(alpha=None).fit(x, seed=0).check(y).scores  # of all rows
        taken = seen.mean(axis=0) - [row["proxy"] for row in step.sample]
        np.testing.assert_allclose(taken, 0.1 * distance, rtol=1e-4, atol=1e-5)
        assert (taken > 0).all()


@pytest.mark.slow
def test_an_interrupted_run_goes_on_when_the_same_command_is_given_again(
    embrm: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("rl", "--policy", "causal_lm", "--lm", "lm", "--prompts", "prefs.jsonl", "--head", "linear", "--pairs")
    more = ("200", "--embedder", "hashing", *TINY, "-o", "trained", "--steps", "3", "--save-every", "1", "--json")
    add = Trajectory.add

    def interrupt(run: Trajectory, step: Step) -> None:
        add(run, step)
        if step.step == 1:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Trajectory, "add", interrupt)
        assert embrm(*words, *more).code == 130
    seen = Path("trained", "trajectory.jsonl").read_text(encoding="utf-8")
    result = embrm(*words, *more, "--bias", "1")
    assert (result.code, "begun with another reward; give what it had" in result.err) == (1, True)
    assert embrm(*words, *more).json["steps"] == 3
    assert Path("trained", "trajectory.jsonl").read_text(encoding="utf-8").startswith(seen)
    result = embrm(*words, *more)
    assert (result.code, "holds files that embrm did not write" in result.err) == (2, True)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("rl", "model", "-o", "new", "--lm", "lm", "--stop-on-alarm"), "'grammar' has no --lm, --stop-on-alarm"),
        ((*BASE, "--algorithm", "ppo"), "'causal_lm' has no --algorithm"),
        (BASE[:5] + BASE[7:], "needs --lm"),
        ((*BASE, "--head", "mlp"), "one of both"),
        (("rl", "-o", "new"), "give a MODEL, the folder of a saved head, or --head NAME"),
        ((*BASE, "--set", "temprature=1"), "has no option 'temprature'"),
        ((*BASE, "--set", "beta"), "'beta' is not NAME=VALUE"),
        ((*BASE, "--set", "beta=1"), "beta cannot be set by options"),
        ((*BASE, "--stop-on-alarm"), "give them as --reference FILE"),
        (("rl", "model", "-o", "new", "--window", "3", "--level", "0.1"), "'grammar' has no --window, --level"),
        ((*BASE, "--window", "3", "--limit", "1"), "--window, --limit are about an alarm; give --detector"),
        ((*BASE, "--stop-on-alarm", "--reference", "prefs.jsonl", "--window", "0"), "window must be at least 1 step"),
        ((*BASE, "--latent-penalty", "1", "--reference", "prefs.jsonl", "--selector", "best"), "leave --selector out"),
        ((*BASE, "--latent-penalty", "-1", "--reference", "prefs.jsonl"), "weight must be >= 0"),
        ((*BASE, "--steps", "0"), "steps, max_new_tokens and micro_batch >= 1"),
    ],
)
def test_options_that_make_no_sense_are_refused(words: tuple[str, ...], message: str, embrm: Run) -> None:
    result = embrm(*words)
    assert (result.code, message in result.err) == (2, True)


def test_gold_with_two_logits_needs_its_label(embrm: Run, workspace: Path) -> None:
    reward_model(workspace / "gold", labels=2)
    result = embrm(*BASE, *TINY, "--gold", "gold")
    assert (result.code, "give the label of the good one" in result.err) == (2, True)


def test_without_the_extra_the_command_that_installs_it_is_named(embrm: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trl", None)
    monkeypatch.delitem(sys.modules, "embrm.integrations.grpo", raising=False)
    result = embrm(*BASE, *TINY)
    assert (result.code, "pip install 'embrm[trl]'" in result.err) == (1, True)


def test_a_head_whose_embedder_is_not_installed_says_what_to_install(
    embrm: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert embrm("fit", "prefs.jsonl", "--head", "linear", "--embedder", "static", "-o", "still").code == 0
    monkeypatch.setattr(static, "PACKAGE", "no_such_package")
    static._loaded.cache_clear()
    result = embrm("rl", "still", *BASE[2:], *TINY)
    assert (result.code, "pip install 'embrm[static]'" in result.err) == (1, True)


def test_detect_reads_the_run_of_a_language_model(embrm: Run) -> None:
    assert embrm(*BASE, *TINY, "--steps", "3", "--latents").code == 0
    found = embrm("detect", "model", "prefs.jsonl", "trained", "--detector", "csi", "--json")
    assert found.code in (0, 3)
    assert found.json["watched"][0]["report"] is None  # gold is not known
    assert "csi" in embrm("detect", "model", "prefs.jsonl", "trained", "--detector", "csi").out
