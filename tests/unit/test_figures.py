"""Figures show the numbers that they are given."""

from __future__ import annotations

import numpy as np

from embrm import Reward
from embrm.evaluation.reports import pair_report
from embrm.report import figures
from tests.planted import planted


def test_the_reliability_diagram_has_every_bin_with_pairs() -> None:
    pairs, reward = planted(pairs=300)
    found = pair_report(Reward(reward[None], kind="point"), pairs, seed=0)
    drawn = figures.evaluation(found).to_dict()
    shown = drawn["datasets"][drawn["layer"][1]["data"]["name"]]
    assert sum(row["pairs"] for row in shown) == 300
    used = found.calibration.weight > 0
    np.testing.assert_allclose([row["accuracy"] for row in shown], found.calibration.accuracy[used], atol=1e-8)
    np.testing.assert_allclose([row["confidence"] for row in shown], found.calibration.confidence[used], atol=1e-8)
    gap = [abs(row["accuracy"] - row["confidence"]) * row["pairs"] / 300 for row in shown]
    np.testing.assert_allclose(sum(gap), float(found.ece.estimate), atol=1e-6)
