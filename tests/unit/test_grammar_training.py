from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from embrm.core.trajectory import Step, Trajectory
from embrm.errors import DataError, OptionError
from embrm.policies.grammar import GrammarPolicy
from embrm.policies.training import PolicyGradient, RunStoppedError
from embrm.world import World


@pytest.fixture(scope="module")
def world() -> World:
    return World.load().only(range(4))


def biased(world: World) -> "TextReward":
    return TextReward(world)


class TextReward:
    """The biased utility, read off the text itself: no reward model in between."""

    def __init__(self, world: World, *, fail_at: int = 10**9, failure: str = "") -> None:
        self.world, self.calls, self.fail_at, self.failure = world, 0, fail_at, failure

    def __call__(self, prompts: Sequence[str], texts: Sequence[str]) -> np.ndarray:
        assert len(prompts) == len(texts)
        out = self.world.utility(np.array([self.world.read(t) for t in texts]), bias=1)
        if self.calls == self.fail_at:
            out = np.full(len(out), np.nan) if self.failure == "nan" else out[:-1]
        self.calls += 1
        return out


@pytest.mark.parametrize("algorithm", ["reinforce", "ppo"])
def test_training_reaches_the_closed_form_optimum(world: World, algorithm: Literal["reinforce", "ppo"]) -> None:
    # With an attribute-only reward, E[r] − β·KL is maximised by the tilted policy, exactly.
    recipe = PolicyGradient(algorithm=algorithm, steps=150, batch=64, kl_weight=1.0, learning_rate=0.05)
    run = recipe.train(world, biased(world), seed=0)
    start = GrammarPolicy.from_probabilities(world.reference)
    best = start.tilted(world.tables(bias=1), beta=1.0)

    def objective(p: GrammarPolicy) -> float:
        return sum(float(q @ t) for q, t in zip(p.probabilities, world.tables(bias=1), strict=True)) - p.kl(start)

    last = GrammarPolicy.from_flat(np.mean([s.logits for s in run.steps[-40:]], axis=0), like=start)
    gain = (objective(last) - objective(start)) / (objective(best) - objective(start))
    assert 0.95 < gain <= 1 + 1e-9
    np.testing.assert_allclose(last.means, best.means, atol=0.25)


def test_record_is_exact_and_reproducible(world: World, tmp_path: Path) -> None:
    recipe = PolicyGradient(steps=5, batch=16, learning_rate=0.1)

    def latent(prompts: Sequence[str], texts: Sequence[str]) -> np.ndarray:
        return np.array([[len(t), len(p)] for t, p in zip(texts, prompts, strict=True)], dtype=float)

    seen: list[Step] = []
    run = recipe.train(world, biased(world), seed=3, latent=latent, folder=tmp_path / "run", on_step=seen.append)
    again = recipe.train(world, biased(world), seed=3)
    np.testing.assert_allclose(run.series("proxy"), again.series("proxy"), atol=0)
    assert [s.step for s in seen] == [0, 1, 2, 3, 4]
    assert run.series("kl")[0] == 0
    start = GrammarPolicy.from_probabilities(world.reference)
    for step in run.steps:
        now = GrammarPolicy.from_flat(np.array(step.logits), like=start)
        np.testing.assert_allclose([step.kl, step.entropy], [now.kl(start), now.entropy()])
        for row in step.sample:
            np.testing.assert_array_equal(world.read(row["text"]), row["counts"])
            np.testing.assert_allclose(world.gold([row["counts"]]), row["gold"])
    back = Trajectory.load(tmp_path / "run")
    np.testing.assert_allclose(back.series("flattery"), run.series("flattery"), atol=0)
    assert back.steps[4].latent is not None
    assert run.steps[4].latent is not None
    np.testing.assert_allclose(back.steps[4].latent, run.steps[4].latent)


@pytest.mark.parametrize(("failure", "match"), [("nan", "got NaN or infinity"), ("short", r"got shape \(15,\)")])
def test_failing_reward_stops_the_run_and_keeps_its_steps(
    world: World, tmp_path: Path, failure: str, match: str
) -> None:
    recipe = PolicyGradient(steps=5, batch=16)
    folder = tmp_path / "run"
    with pytest.raises(RunStoppedError, match=rf"(?s)reward of step 3 must be finite.*{match}.*3 steps before.*in "):
        recipe.train(world, TextReward(world, fail_at=3, failure=failure), seed=0, folder=folder)
    assert len(Trajectory.load(folder)) == 3
    with pytest.raises(RunStoppedError, match="exception's trajectory") as caught:
        recipe.train(world, TextReward(world, fail_at=3, failure=failure), seed=0)
    assert len(caught.value.trajectory) == 3


def test_failing_latent_stops_the_run(world: World) -> None:
    with pytest.raises(RunStoppedError, match=r"latent of step 0 must be finite with shape \(16, None\), got shape"):
        PolicyGradient(batch=16).train(world, biased(world), seed=0, latent=lambda p, t: np.zeros(16))


def test_shaping(world: World) -> None:
    # Centring changes nothing behind a baseline; the sigmoid stops paying, so it leaves π_ref less far.
    kl = {
        shaping: PolicyGradient(steps=40, batch=32, kl_weight=0.1, shaping=shaping).train(world, biased(world), seed=0)
        for shaping in ("none", "center", "sigmoid")
    }
    assert kl["sigmoid"].series("kl")[-1] < 0.8 * kl["none"].series("kl")[-1]
    np.testing.assert_allclose(kl["center"].series("kl")[-1], kl["none"].series("kl")[-1], rtol=0.2)


def test_folder_with_a_run_is_refused(world: World, tmp_path: Path) -> None:
    recipe = PolicyGradient(steps=1, batch=4)
    recipe.train(world, biased(world), seed=0, folder=tmp_path)
    with pytest.raises(DataError, match="exists already; give another folder"):
        recipe.train(world, biased(world), seed=0, folder=tmp_path)


def test_no_run_to_load(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no trajectory\.jsonl in .*give the folder"):
        Trajectory.load(tmp_path)


def test_unknown_series(world: World) -> None:
    run = PolicyGradient(steps=1, batch=4).train(world, biased(world), seed=0)
    with pytest.raises(DataError, match=r"no series 'goald'; there are kl, entropy, proxy, gold, correct"):
        run.series("goald")


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"algorithm": "trpo"}, "algorithm must be 'reinforce' or 'ppo'.*got 'trpo'"),
        ({"shaping": "tanh"}, "shaping .*'tanh'"),
        ({"steps": 0}, "steps and epochs must be >= 1.*got 0"),
        ({"batch": 1}, "batch >= 2"),
        ({"kl_weight": -1.0}, "kl_weight >= 0"),
        ({"clip": 1.0}, r"clip in \(0, 1\)"),
    ],
)
def test_impossible_options(options: dict[str, object], match: str) -> None:
    with pytest.raises(OptionError, match=match):
        PolicyGradient(**options)  # type: ignore[arg-type]
