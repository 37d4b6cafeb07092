"""`--latent-penalty` of `embrm rl` and `embrm tilt`: IBL inside a run and along the path."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from embrm import embedders, load_model
from embrm.core.trajectory import Trajectory
from embrm.data.encode import encode
from embrm.world.penalty import LatentPenalty
from embrm.world.shipped import load
from tests.cli.conftest import Result

Run = Callable[..., Result]


@pytest.mark.slow
def test_a_run_is_paid_the_reward_minus_the_distance_of_the_topic_s_class(embrm: Run) -> None:
    base = ("rl", "model", "--steps", "2", "--batch", "4", "-o")
    for name, more in (("plain", ()), ("penalised", ("--latent-penalty", "0.5"))):
        assert embrm(*base, name, *more).code == 0
    model, data = load_model("model"), load("hashing")
    penalty = LatentPenalty.of(model, data, weight=0.5)
    # Both runs draw the same first batch, and all four of its texts are kept.
    one, other = (Trajectory.load(name).steps[0] for name in ("plain", "penalised"))
    prompts, texts = ([row[key] for row in one.sample] for key in ("prompt", "text"))
    assert texts == [row["text"] for row in other.sample]
    paid = penalty.rows(model.latent(encode(prompts, texts, embedder=embedders.get("hashing")()).features), prompts)
    np.testing.assert_allclose(one.proxy - other.proxy, paid.mean(), rtol=1e-5)


@pytest.mark.slow
def test_the_path_starts_at_the_same_gold_and_pays_the_distance(embrm: Run) -> None:
    plain, less = (embrm("tilt", "model", *more, "--json") for more in ((), ("--latent-penalty", "0.5")))
    first, other = (result.json["path"][0] for result in (plain, less))
    assert first["gold"] == other["gold"]
    assert first["proxy"] > other["proxy"]


@pytest.mark.parametrize("command", [("rl", "-o", "new"), ("tilt",)])
def test_a_negative_weight_is_refused(command: tuple[str, ...], embrm: Run) -> None:
    result = embrm(command[0], "model", *command[1:], "--latent-penalty", "-1")
    assert (result.code, "weight must be >= 0 and finite, got -1" in result.err) == (2, True)
