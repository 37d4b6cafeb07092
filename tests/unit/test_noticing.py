"""Onset by p-values: at the level it promises, on runs of any length; spaces; which rule suits which detector."""

from __future__ import annotations

import numpy as np
import pytest

from embrm import detectors
from embrm.errors import OptionError
from embrm.monitoring import onset
from embrm.monitoring.watch import _on_axes, _trailing, first_alarm, usual_rule


@pytest.mark.parametrize(("p_at_3", "alarm"), [(0.2 / 12, 2), (0.2 / 12 * 1.0001, None), (0.0, 2)])
def test_a_p_value_fires_at_its_step_s_share_of_the_level(p_at_3: float, alarm: int | None) -> None:
    p = np.array([0.11, 0.5, p_at_3, 0.9])  # shares of the level 0.2: 1/2, 1/6, 1/12, 1/20
    assert first_alarm(np.zeros(4), p, rule="p_value", level=0.2) == alarm


def test_clean_runs_raise_an_alarm_as_often_as_promised() -> None:
    rng, runs, level = np.random.default_rng(0), 20_000, 0.2
    fired = np.mean(
        [first_alarm(np.zeros(30), p, rule="p_value", level=level) is not None for p in rng.random((runs, 30))]
    )
    t = np.arange(1, 31)
    expected = 1 - np.prod(1 - level / (t * (t + 1)))
    assert expected < level
    np.testing.assert_allclose(fired, expected, atol=4 * np.sqrt(expected / runs))


def test_the_rules_are_those_of_onset() -> None:
    x = np.concatenate([np.random.default_rng(0).normal(size=20), np.arange(10.0) * 30])
    assert first_alarm(x, None, rule="ratio") == onset.ratio_alarm(x) is not None
    assert first_alarm(x, None, rule="cusum") == onset.cusum_alarm(x) is not None
    assert first_alarm(x, None, rule="threshold", limit=40.0) == 22


@pytest.mark.parametrize(
    ("rule", "limit", "message"),
    [
        ("threshold", None, "a limit belongs to the rule 'threshold'"),
        ("cusum", 1.0, "a limit belongs to the rule 'threshold'"),
        ("p_value", None, "needs a detector with p-values of whole sets"),
    ],
)
def test_rules_without_what_they_need_are_refused(rule: str, limit: float | None, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        first_alarm(np.zeros(9), None, rule=rule, limit=limit)  # type: ignore[arg-type]


def test_each_detector_has_a_rule_that_suits_it() -> None:
    rules = {name: usual_rule(detectors.get(name)()) for name in detectors.names()}
    assert rules["csi"] == "ratio"
    assert {name for name, rule in rules.items() if rule == "cusum"} == {"dispersion", "mmd"}
    assert rules["mahalanobis"] == rules["conformal"] == "p_value"


def test_the_gold_of_a_window_is_its_mean() -> None:
    x = np.random.default_rng(0).normal(size=9)
    expected = [x[max(0, t - 3) : t + 1].mean() for t in range(9)]
    np.testing.assert_allclose(_trailing(x, 4), expected)


def test_axes_are_the_reference_s_own() -> None:
    rng = np.random.default_rng(0)
    reference, outputs = rng.normal(size=(200, 40)) * np.arange(1, 41), rng.normal(size=(5, 40))
    low, high = _on_axes(reference, outputs)
    centre = reference - reference.mean(axis=0)
    axes = np.linalg.svd(centre, full_matrices=False)[2][:32]
    np.testing.assert_allclose(np.abs(low), np.abs(centre @ axes.T), atol=1e-8)
    np.testing.assert_allclose(np.abs(high), np.abs((outputs - reference.mean(axis=0)) @ axes.T), atol=1e-8)
