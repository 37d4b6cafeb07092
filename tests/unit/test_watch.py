"""Alarms along runs: rules at the level that they promise, windows, spaces, and which rule suits which detector."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from embrm import detectors
from embrm.core.results import Verdict
from embrm.errors import OptionError
from embrm.monitoring import AlarmRule, Monitor, follow, onset, principal_axes
from embrm.monitoring.rule import RULES
from embrm.monitoring.watch import _trailing


@pytest.mark.parametrize(("p_at_3", "alarm"), [(0.2 / 12, 2), (0.2 / 12 * 1.0001, None), (0.0, 2)])
def test_a_p_value_fires_at_its_step_s_share_of_the_level(p_at_3: float, alarm: int | None) -> None:
    p = np.array([0.11, 0.5, p_at_3, 0.9])  # shares of the level 0.2: 1/2, 1/6, 1/12, 1/20
    assert AlarmRule("p_value", level=0.2).first_alarm(np.zeros(4), p) == alarm


def test_clean_runs_raise_an_alarm_as_often_as_promised() -> None:
    rng, runs, level = np.random.default_rng(0), 20_000, 0.2
    rule = AlarmRule("p_value", level=level)
    fired = np.mean([rule.first_alarm(np.zeros(30), p) is not None for p in rng.random((runs, 30))])
    t = np.arange(1, 31)
    expected = 1 - np.prod(1 - level / (t * (t + 1)))
    assert expected < level
    np.testing.assert_allclose(fired, expected, atol=4 * np.sqrt(expected / runs))


def test_the_rules_are_those_of_onset() -> None:
    x = np.concatenate([np.random.default_rng(0).normal(size=20), np.arange(10.0) * 30])
    assert AlarmRule("ratio").first_alarm(x) == onset.ratio_alarm(x) is not None
    assert AlarmRule("cusum").first_alarm(x) == onset.cusum_alarm(x) is not None
    assert AlarmRule("threshold", limit=40.0).first_alarm(x) == 22


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rule": "threshold"}, "a limit belongs to the rule 'threshold'"),
        ({"rule": "cusum", "limit": 1.0}, "a limit belongs to the rule 'threshold'"),
        ({"limit": 1.0}, "a limit belongs to the rule 'threshold'"),
        ({"rule": "pvalue"}, "one of auto, p_value, ratio, cusum, threshold, got 'pvalue'"),
        ({"window": 0}, "window must be at least 1 step, got 0"),
        ({"level": 0.0}, r"level must be inside \(0, 1\), got 0"),
        ({"level": 1.0}, r"level must be inside \(0, 1\), got 1"),
    ],
)
def test_rules_that_make_no_sense_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        AlarmRule(**options)


@pytest.mark.parametrize(
    ("rule", "message"),
    [("p_value", "needs a detector with p-values of whole sets"), ("auto", "settle it with suited_to")],
)
def test_rules_without_what_they_need_are_refused(rule: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        AlarmRule(rule).first_alarm(np.zeros(9))


def test_each_detector_has_a_rule_that_suits_it() -> None:
    rules = {name: AlarmRule().suited_to(detectors.get(name)()).rule for name in detectors.names()}
    assert rules["csi"] == "ratio"
    assert {name for name, rule in rules.items() if rule == "cusum"} == {"dispersion", "mmd"}
    assert rules["mahalanobis"] == rules["conformal"] == "p_value"


def test_what_is_asked_for_is_not_replaced_by_what_suits() -> None:
    asked = [AlarmRule(rule, limit=1.0 if rule == "threshold" else None) for rule in RULES if rule != "auto"]
    assert [rule.suited_to(detectors.get("csi")()) for rule in asked] == asked


def test_detectors_that_share_a_level_get_equal_parts() -> None:
    assert AlarmRule("p_value", level=0.2, window=3).shared(4) == AlarmRule("p_value", level=0.05, window=3)


class Sums:
    """A detector that says what it was shown: the sum of the rows, and as p-value the number of prompts, if any."""

    def check(self, outputs: Any, *, prompt: Any = None) -> Verdict:
        details = {} if prompt is None else {"p_value": float(len(np.unique(prompt)))}
        total = float(np.sum(outputs))
        return Verdict("sums", total, np.asarray(outputs)[:, 0], details=details, warnings=(f"{total > 9}",))


def test_a_monitor_sees_the_rows_of_its_window() -> None:
    steps = [np.full((n, 2), 10.0**n) for n in (1, 2, 3, 0, 1)]
    sums = [float(step.sum()) for step in steps]
    for window in (1, 2, 5):
        trace = follow(Sums(), steps, window=window)
        np.testing.assert_array_equal(trace.statistic, [sum(sums[max(0, t - window + 1) : t + 1]) for t in range(5)])
        assert trace.p_values is None
    assert trace.warnings == ("True",)


def test_a_monitor_keeps_the_prompts_of_its_window() -> None:
    steps, prompts = [np.zeros((2, 1))] * 4, [[0, 0], [0, 1], [2, 3], [3, 3]]
    trace = follow(Sums(), steps, prompts=prompts, window=2)
    np.testing.assert_array_equal(trace.p_values, [1, 2, 4, 2])
    assert trace.warnings == ("False",)
    monitor = Monitor(Sums(), window=2)
    for rows, prompt in zip(steps, [[0, 0], None, [1, 1], [2, 2]], strict=True):
        monitor.see(rows, prompt=prompt)
    assert (len(monitor), monitor.trace.p_values) == (4, None)  # two sets held rows of no known prompt


def test_a_monitor_without_a_window_is_refused() -> None:
    with pytest.raises(OptionError, match="window must be at least 1 step, got 0"):
        Monitor(Sums(), window=0)


def test_the_gold_of_a_window_is_its_mean() -> None:
    x = np.random.default_rng(0).normal(size=9)
    expected = [x[max(0, t - 3) : t + 1].mean() for t in range(9)]
    np.testing.assert_allclose(_trailing(x, 4), expected)


def test_axes_are_the_reference_s_own() -> None:
    rng = np.random.default_rng(0)
    reference, outputs = rng.normal(size=(200, 40)) * np.arange(1, 41), rng.normal(size=(5, 40))
    low, high = (principal_axes(reference)(x) for x in (reference, outputs))
    centre = reference - reference.mean(axis=0)
    axes = np.linalg.svd(centre, full_matrices=False)[2][:32]
    np.testing.assert_allclose(np.abs(low), np.abs(centre @ axes.T), atol=1e-8)
    np.testing.assert_allclose(np.abs(high), np.abs((outputs - reference.mean(axis=0)) @ axes.T), atol=1e-8)
