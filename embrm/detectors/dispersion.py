"""Collapse of the outputs onto one another."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embrm.core.arrays import Array, BoolArray
from embrm.core.registry import register
from embrm.detectors._dbscan import distinct
from embrm.detectors._permutation import PermutationDetector, SetStatistic


@register
@dataclass(frozen=True, kw_only=True)
class Dispersion(PermutationDetector):
    """Share of the reference's spread that the outputs have lost, with a permutation p-value for the set.

    1 - V(outputs)/V(reference), V the mean squared distance of two rows of different prompts: 0 for clean outputs, 1
    for a policy that answers everything with one string. A row's score is the same with its own mean distance. Such a
    collapse shows in vectors of the responses alone; in joint vectors the prompts go on differing.

    Examples:
        >>> import numpy as np
        >>> from embrm import detectors
        >>> rng = np.random.default_rng(0)
        >>> fitted = detectors.get("dispersion")(rounds=199).fit(rng.normal(size=(100, 3)))
        >>> verdict = fitted.check(np.ones((50, 3)))  # one answer to everything
        >>> verdict.statistic, verdict.details["repeated"], verdict.details["p_value"]
        (1.0, 49, 0.005)
    """

    def compare(self, x: Array, *, outputs: Array, reference: Array) -> SetStatistic:
        """Compare the spreads of outputs `(n, k)` and reference `(m, k)`; `details["repeated"]` counts equal rows."""
        joint = np.concatenate([outputs, reference])
        joint = joint - joint.mean(axis=0, dtype=np.float64)

        def lost(masks: BoolArray) -> Array:
            outside = np.maximum(_spread(joint, ~masks), np.finfo(float).tiny)
            return np.asarray(1 - _spread(joint, masks) / outside)

        n = len(outputs)
        centre = outputs.mean(axis=0, dtype=np.float64)
        inner = ((outputs - centre) ** 2).sum() / n
        # Mean squared distance to the outputs other than itself: exact for rows that are among them.
        own = (((x - centre) ** 2).sum(axis=1) + inner) * n / (n - 1)
        usual = 2 * reference.var(axis=0, dtype=np.float64, ddof=1).sum()
        return SetStatistic(lost, 1 - own / usual, {"repeated": len(x) - len(distinct(x)[0])})


def _spread(x: Array, masks: BoolArray) -> Array:
    """Return the mean squared distance of two of the rows in each mask, `(b,)`, from sums alone."""
    weights = masks.astype(np.float64)
    n = weights.sum(axis=1)
    square = weights @ np.einsum("nk,nk->n", x, x) - ((weights @ x) ** 2).sum(axis=1) / n
    return np.asarray(2 * np.maximum(square, 0) / np.maximum(n - 1, 1))
