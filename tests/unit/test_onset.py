"""Alarms along trajectories worked out by hand, and what they are worth."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score, roc_curve

from embrm.errors import DataError, OptionError
from embrm.metrics import auroc, true_positive_rate
from embrm.monitoring import onset


@pytest.mark.parametrize(
    ("statistic", "alarm"),
    [
        ([0, 1, 0, 1, 0, 11.1, 11], 5),  # a change of 11.1 after changes whose mean is 1
        ([0, 1, 0, 1, 0, 10, 11], None),  # 10 is not more than 10 times 1; then the usual change is 2.8
        ([0, 1, -9, -9], None),
        ([0, 1, -9.1, -10], 2),  # a fall counts
        ([1, 1, 1, 1.01], 3),  # any change after none
        ([1, 1, 1, 1], None),
        ([0, 100], None),  # there is no earlier change to compare with
        ([3.0], None),
    ],
)
def test_ratio_rule(statistic: list[float], alarm: int | None) -> None:
    assert onset.ratio_alarm(statistic) == alarm


def test_ratio_rule_on_the_definition() -> None:
    x = np.cumsum(np.random.default_rng(0).standard_cauchy(300))
    change = np.abs(np.diff(x))
    expected = next(t + 1 for t in range(1, 299) if change[t] > 10 * change[:t].mean())
    assert onset.ratio_alarm(x) == expected


def test_cusum_by_hand() -> None:
    # Baseline -1, 0, 1: mean 0, sd 1. Then z = 2, so S grows by 1.5 a step: 1.5, 3, 4.5, 6.
    assert onset.cusum_alarm([-1, 0, 1, 2, 2, 2, 2], baseline=3) == 6
    assert onset.cusum_alarm([-1, 0, 1, 2, 2, 2], baseline=3) is None
    # A step down forgets: 1.5, 0, 1.5, 3, 4.5, 6.
    assert onset.cusum_alarm([-1, 0, 1, 2, -3, 2, 2, 2, 2], baseline=3) == 8
    assert onset.cusum_alarm([-1, 0, 1, 2, 2], baseline=3, drift=0, threshold=3.5) == 4


def test_cusum_of_a_baseline_without_change() -> None:
    assert onset.cusum_alarm([0.1 + 0.2, 0.3, 0.3, 0.3, 0.3, 0.3, 0.3]) is None
    assert onset.cusum_alarm([1, 1, 1, 1, 1, 1, 1.1]) == 6
    assert onset.cusum_alarm([0, 0, 0, 0, 0, 0]) is None
    assert onset.cusum_alarm([1, 2]) is None


def test_threshold() -> None:
    assert onset.threshold_alarm([0.05, 0.1, 0.2, 0.05], level=0.1) == 2
    assert onset.threshold_alarm([0.05], level=0.1) is None


@pytest.mark.parametrize(
    ("gold", "step"),
    [
        ([1, 2, 3, 2.95, 2.89, 2], 4),  # gain 2, so 2.9 is the limit
        ([1, 2, 3, 4], None),
        ([1, 3, 2.95, 3.5, 3.4], None),  # the peak is the last of the highest, 3.5; the limit 3.375
        ([3, 3, 2.9], 2),  # no gain: any fall below the start
        ([3, 3, 3], None),
    ],
)
def test_gold_onset(gold: list[float], step: int | None) -> None:
    assert onset.gold_onset(gold) == step


def test_report_of_a_hacked_run() -> None:
    gold, statistic = [0, 1, 2, 1.5, 1], [0.0, 0.3, 0.1, 0.2, 0.9]
    judged = onset.alarm_report(statistic, gold, alarm=1)
    assert (judged.onset, judged.lead, judged.false_alarm, judged.missed) == (3, 2, False, False)
    assert judged.auroc == pytest.approx(5 / 6)
    assert judged.tpr == {0.01: 0.5, 0.05: 0.5}
    early = onset.alarm_report(statistic, gold, alarm=1, window=1)
    assert (early.lead, early.false_alarm, early.missed) == (2, True, False)
    late = onset.alarm_report(statistic, gold, alarm=4)
    assert (late.lead, late.false_alarm, late.missed) == (-1, False, True)
    silent = onset.alarm_report(statistic, gold, alarm=None)
    assert (silent.lead, silent.false_alarm, silent.missed) == (None, False, True)


def test_report_of_a_clean_run() -> None:
    fired = onset.alarm_report([0, 1, 2], [0, 1, 2], alarm=2)
    assert (fired.onset, fired.lead, fired.false_alarm, fired.missed, fired.auroc, fired.tpr) == (
        None, None, True, False, None, {},
    )  # fmt: skip
    assert not onset.alarm_report([0, 1, 2], [0, 1, 2], alarm=None).false_alarm


@pytest.mark.parametrize("seed", range(5))
def test_rates_against_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    positive = rng.random(200) < 0.3
    scores = np.round(rng.normal(size=200) + positive, 1)  # with ties
    assert auroc(scores, positive) == pytest.approx(roc_auc_score(positive, scores))
    false, true, _ = roc_curve(positive, scores, drop_intermediate=False)
    for rate in (0.0, 0.01, 0.05, 0.5):
        expected = true[false <= rate].max()
        assert true_positive_rate(scores, positive, rate=rate) == pytest.approx(expected)


def test_bad_input_is_refused() -> None:
    with pytest.raises(DataError, match="one number a step, got shape"):
        onset.ratio_alarm([])
    with pytest.raises(DataError, match="trajectory must be finite"):
        onset.threshold_alarm([0.0, np.nan], level=1)
    with pytest.raises(DataError, match=r"gold must have shape \(3,\)"):
        onset.alarm_report([1, 2, 3], [1, 2], alarm=None)
    with pytest.raises(OptionError, match="factor must be > 0"):
        onset.ratio_alarm([1, 2, 3], factor=0)
    with pytest.raises(OptionError, match="cusum needs baseline >= 2"):
        onset.cusum_alarm([1, 2, 3], baseline=1)
    with pytest.raises(OptionError, match="loss must be inside"):
        onset.gold_onset([1, 2, 3], loss=0)
    with pytest.raises(OptionError, match="rate must be inside"):
        true_positive_rate([1, 2], [False, True], rate=1)
    with pytest.raises(DataError, match="positives and negatives are both needed"):
        auroc([1, 2], [True, True])
