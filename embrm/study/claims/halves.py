"""Halves of topics and seeds: what is located on one of them is measured on the other."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embrm.bestofn.scaling_law import gain_and_drop
from embrm.core.arrays import Array, IntArray

SPLIT = 4  # seeds from which on they are halved too


@dataclass(frozen=True, eq=False)
class Halves:
    """Two halves of an array `(prompts, seeds, ...)`, with no topic in both, and no seed where there are enough.

    Attributes:
        values: of each half, `(prompts, seeds, ...)`.
        clusters: of each half, `(prompts,)`.
        crossed: whether both halves have the same seeds.
    """

    values: tuple[Array, Array]
    clusters: tuple[IntArray, IntArray]
    crossed: bool

    @classmethod
    def of(cls, values: Array, clusters: IntArray) -> Halves:
        """Halve an array `(prompts, seeds, ...)`; fewer than four seeds are too few to be halved and serve both sides.

        >>> found = Halves.of(np.zeros((6, 4)), np.array([0, 0, 1, 1, 2, 2]))
        >>> [half.shape for half in found.values], found.crossed  # two topics and one
        ([(4, 2), (2, 2)], False)
        """
        rng = np.random.default_rng(0)
        number = np.unique(clusters, return_inverse=True)[1]
        second = rng.permutation(int(number.max()) + 1)[number] % 2 == 1
        seeds = rng.permutation(values.shape[1])
        crossed = values.shape[1] < SPLIT
        part = (seeds, seeds) if crossed else (seeds[::2], seeds[1::2])
        return cls(
            (values[~second][:, part[0]], values[second][:, part[1]]), (clusters[~second], clusters[second]), crossed
        )


def mean_gain_and_drop(gold: Array, clusters: IntArray) -> tuple[float, float]:
    """Return the cross-fitted gain to the peak, and the drop after it, of a single curve `(prompts, seeds, 1, k)`.

    A single topic cannot be halved: its peak is located and measured on the same prompts.
    """
    halves = Halves.of(gold, clusters)
    first, second = (half.mean(axis=(0, 1)) if len(half) else gold.mean(axis=(0, 1)) for half in halves.values)
    gain, drop = gain_and_drop(first, second)[0]
    return float(gain), float(drop)
