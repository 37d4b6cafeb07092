"""Every claim on simulated results: hardly ever supported where it is false, found where it holds."""

from __future__ import annotations

from collections import Counter

import pytest

from embrm.study import claims
from embrm.study.claims.case import Channel
from tests import simulated_claims as simulated

NAMES = sorted(simulated.SCENARIOS, key=lambda name: int(name[1:]))
every_claim = pytest.mark.parametrize("name", NAMES)


def verdicts(name: str, *, holds: bool, trials: int, draws: int) -> dict[Channel, Counter[str]]:
    """Count the verdicts in each channel; of a claim that compares several defences, the first one's."""
    counts: dict[Channel, Counter[str]] = {channel: Counter() for channel in claims.get(name).scope.channels}
    for number in range(trials):
        results = simulated.trial(name, holds=holds, number=number)
        found = claims.get(name)(results, simulated.DATASET, draws=draws)
        for channel, counter in counts.items():
            counter[next(finding.verdict for finding in found if finding.channel == channel)] += 1
    return counts


def test_only_the_claim_on_cost_has_no_simulation() -> None:
    assert {*NAMES, "C19"} == set(claims.names())


@every_claim
def test_a_claim_that_is_false_is_hardly_ever_supported(name: str) -> None:
    for counts in verdicts(name, holds=False, trials=20, draws=200).values():
        assert counts["supported"] <= 4  # of 20 at a rate of 5 %, more are seen once in 400
        assert counts["not run"] == 0


@every_claim
def test_a_claim_that_holds_is_found(name: str) -> None:
    for counts in verdicts(name, holds=True, trials=10, draws=200).values():
        assert counts["supported"] >= 7


@pytest.mark.slow
@every_claim
def test_of_400_trials_of_a_false_claim_at_most_20_support_it(name: str) -> None:
    for counts in verdicts(name, holds=False, trials=400, draws=400).values():
        assert counts["supported"] <= 20


@pytest.mark.slow
@every_claim
def test_of_400_trials_of_a_true_claim_at_least_320_find_it(name: str) -> None:
    for counts in verdicts(name, holds=True, trials=400, draws=400).values():
        assert counts["supported"] >= 320
