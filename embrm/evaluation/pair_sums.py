"""Sums over the pairs of a prompt, from which accuracy, NLL and ECE follow: what a bootstrap over prompts resamples."""

from __future__ import annotations

import numpy as np

from embrm.core.arrays import Array, IntArray
from embrm.core.data import Pairs
from embrm.core.results import Reward
from embrm.metrics.calibration import BINS, Preferences

# The least and the largest accuracy, NLL and ECE that there can be.
WITHIN = (0.0, np.array([1.0, np.inf, 1.0]))


def hits(reward: Reward, pairs: Pairs) -> Array:
    """Return 1 for each pair whose chosen text has the higher mean reward, 0.5 for equal ones, else 0, `(n,)`."""
    mean = reward.mean
    return np.asarray(0.5 + 0.5 * np.sign(mean[pairs.chosen] - mean[pairs.rejected]))


def pair_sums(seen: Preferences, hit: Array, prompt: IntArray) -> Array:
    """Return the sums of each prompt, `(prompts, 14)`, in the order of the prompts' numbers.

    Args:
        seen: what a reward says of the `n` pairs.
        hit: `(n,)` see `hits`.
        prompt: `(n,)` the pairs' prompts.
    """
    gap = np.zeros((len(hit), BINS))
    gap[np.arange(len(hit)), seen.bin] = seen.decided * (seen.correct - seen.confidence)
    numbers = [seen.decided * hit, seen.decided, seen.weight * seen.loss, seen.weight, gap]
    return _by_group(np.column_stack(numbers), prompt)


def apart(pairs: Pairs) -> IntArray:
    """Return what must not stand on both sides of a split: the cluster of each pair's prompt, or the prompt, `(n,)`."""
    of_rows = pairs.features.cluster
    return pairs.prompt if of_rows is None else of_rows[pairs.chosen]


def clusters_of(pairs: Pairs) -> IntArray | None:
    """Return the cluster of each prompt, in the order of the prompts' numbers; None where the texts have none."""
    of_rows = pairs.features.cluster
    return None if of_rows is None else of_rows[pairs.chosen[np.unique(pairs.prompt, return_index=True)[1]]]


def pair_numbers(sums: Array) -> Array:
    """Return accuracy, NLL and ECE `(..., 3)` of sums `(..., 14)`; NaN for a resample without a decided pair."""
    above = np.stack([sums[..., 0], sums[..., 2], np.abs(sums[..., 4:]).sum(axis=-1)], axis=-1)
    below = sums[..., [1, 3, 1]]
    return np.asarray(np.divide(above, below, out=np.full(above.shape, np.nan), where=below > 0))


def _by_group(values: Array, group: IntArray) -> Array:
    number = np.unique(group, return_inverse=True)[1]
    sums = np.zeros((number.max() + 1, values.shape[1]))
    np.add.at(sums, number, values)
    return sums
