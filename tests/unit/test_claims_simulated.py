"""Every claim on simulated results: hardly ever supported where it is false, found where it holds."""

from __future__ import annotations

from collections import Counter

import pytest

from embrm.study import claims
from tests import simulated_claims as simulated

NAMES = sorted(simulated.SCENARIOS, key=lambda name: int(name[1:]))
every_claim = pytest.mark.parametrize("name", NAMES)


def verdicts(name: str, *, holds: bool, trials: int, draws: int) -> Counter[str]:
    claim = claims.get(name)
    results = (simulated.trial(name, holds=holds, number=number) for number in range(trials))
    return Counter(claim(found, simulated.DATASET, draws=draws).verdict for found in results)


def test_only_the_claim_on_cost_has_no_simulation() -> None:
    assert [*NAMES, "C19"] == claims.names()


@every_claim
def test_a_claim_that_is_false_is_hardly_ever_supported(name: str) -> None:
    counts = verdicts(name, holds=False, trials=40, draws=200)
    assert counts["supported"] <= 4  # of 40 at a rate of 5 % more are seen once in twenty
    assert counts["not run"] == 0


@every_claim
def test_a_claim_that_holds_is_found(name: str) -> None:
    assert verdicts(name, holds=True, trials=20, draws=200)["supported"] >= 16


@pytest.mark.slow
@every_claim
def test_of_400_trials_of_a_false_claim_at_most_20_support_it(name: str) -> None:
    assert verdicts(name, holds=False, trials=400, draws=400)["supported"] <= 20


@pytest.mark.slow
@every_claim
def test_of_400_trials_of_a_true_claim_at_least_320_find_it(name: str) -> None:
    assert verdicts(name, holds=True, trials=400, draws=400)["supported"] >= 320
