"""Which pools a curve rests on: those with enough responses, the same ones at every n, and said so."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from embrm.core.arrays import Array, IntArray
from embrm.core.results import Reward
from embrm.data.texts import Texts


class ShortPoolWarning(UserWarning):
    """Some pools have too few responses for a curve, or end it early."""


def long_enough(texts: Texts, sizes: Sequence[int] | None, *, pool: str) -> IntArray:
    """Return the numbers of the pools that have every n, and warn of those that are left out or end the curve.

    A pool of one response says nothing about best of n. One set of pools serves all n, so that what differs along a
    curve is n alone. Where fewer than two pools have the largest n, all stay, for the curve to say what it needs.

    Args:
        texts: pools.
        sizes: the n wanted; None means up to the smallest pool.
        pool: see `embrm.bestofn`; under "support" any pool of two responses has every n.
    """
    counts = np.diff(texts.offsets)
    least = max([2, *(sizes or [])]) if pool == "population" else 2
    kept = np.flatnonzero(counts >= least)
    if len(kept) < 2:
        return np.arange(len(counts))
    if len(kept) < len(counts):
        first = int(np.flatnonzero(counts < least)[0])
        warnings.warn(
            f"{len(counts) - len(kept)} of {len(counts)} pools have fewer than {least} responses (first: id "
            f"'{texts.rows.label(first)}', with {counts[first]}) and were left out; the curve rests on the other "
            f"{len(kept)} at every n",
            ShortPoolWarning,
            stacklevel=2,
        )
    left = counts[kept]
    if sizes is None and pool == "population" and left.min() < left.max():
        short = kept[left == left.min()]
        warnings.warn(
            f"the curve ends at n = {left.min()}, the size of the smallest pools ({len(short)} of {len(kept)}, first: "
            f"id '{texts.rows.label(int(short[0]))}'); others have up to {left.max()}: --sizes 1,{left.max()} leaves "
            "the smaller ones out",
            ShortPoolWarning,
            stacklevel=2,
        )
    return kept


def rows_of(offsets: IntArray, pools: IntArray) -> tuple[IntArray, IntArray]:
    """Return the rows of the given pools, and the boundaries of these pools among them."""
    counts = np.diff(offsets)[pools]
    rows = np.concatenate([np.arange(offsets[p], offsets[p + 1]) for p in pools])
    return rows, np.concatenate([[0], np.cumsum(counts)])


def reward_of(reward: Reward, rows: IntArray) -> Reward:
    """Return the reward of some of the rows."""
    sigma: Array | None = None if reward.sigma is None else reward.sigma[:, rows]
    return replace(reward, draws=reward.draws[:, rows], sigma=sigma)
