"""The experiment on stress, measured on the fast world, and the claim that reads it."""

from __future__ import annotations

import numpy as np
import pytest

from embrm.errors import OptionError
from embrm.study import claims
from embrm.study.config import parse
from embrm.study.datasets import open_dataset
from embrm.study.experiments import ExperimentSetting
from embrm.study.experiments.stress import CONTESTANTS, Stress
from embrm.world.mechanism import Mechanism
from tests import simulated_claims as simulated


@pytest.mark.slow
def test_the_same_prompts_are_measured_of_every_contestant_under_every_seed() -> None:
    options = {"topics": 8, "stock": 64, "pool": 8, "stratum": 2, "refinements": 0}
    given = {"name": "fast", "kind": "fast", "embedder": "static", "options": options}
    config = parse({"datasets": [given], "heads": [{"name": "linear"}], "seeds": [0], "pairs": [200]})
    data = open_dataset(config.datasets[0])
    recipe = Stress(prompts=6, draws=20)
    first, second = (recipe.measure(ExperimentSetting(data, Mechanism(bias=1.0), 0.0, 600, seed)) for seed in (0, 1))
    names = [name for *_, rules in CONTESTANTS for name in rules]
    assert list(first) == [f"{name} {what}" for name in names for what in ("accepted", "flips")]
    for name, found in first.items():
        np.testing.assert_array_equal(found.clusters, second[name].clusters)
        assert len(found.values) == 6
        assert ((found.values >= 0) & (found.values <= 1)).all()
    fair = recipe.measure(ExperimentSetting(data, Mechanism(), 0.0, 600, 0))["standard accepted"]
    assert first["standard accepted"].values.mean() > fair.values.mean() + 0.2  # annotators liked flattery


def test_the_claim_is_the_paired_difference_in_acceptance() -> None:
    found = claims.get("C29")(simulated.trial("C29", holds=True, number=0), "world", draws=200)
    assert len({line.defence for line in found}) == len(found) == 6
    for line in found:
        assert line.effect == pytest.approx(0.2, abs=0.06)
        assert line.verdict == "supported"
        assert "of all moves of vectors" in line.reason


def test_stress_needs_two_prompts() -> None:
    with pytest.raises(OptionError, match="at least 2 prompts"):
        Stress(prompts=1)
