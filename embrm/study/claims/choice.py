"""Parameters chosen on validation topics, and prompts that have all their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embrm.core.arrays import Array, BoolArray, IntArray
from embrm.study.results import validation


@dataclass(frozen=True, eq=False)
class ValidationChoice:
    """What a parameter's choice on validation topics leads to on the others.

    Attributes:
        usual: the column that was chosen most often.
        rest: which prompts the claim is measured on.
        values: `(prompts, seeds)` of the chosen columns, on those prompts.
        clusters: `(prompts,)` theirs.
    """

    usual: int
    rest: BoolArray
    values: Array
    clusters: IntArray


def choose(values: Array, columns: Sequence[int], clusters: IntArray) -> ValidationChoice:
    """Choose the column with the highest mean on validation topics, for each seed by the other seeds.

    >>> gold = np.zeros((9, 2, 3))  # prompts, seeds, values of the parameter
    >>> gold[..., 2] = 1.0
    >>> found = choose(gold, range(3), np.arange(9))
    >>> found.usual, found.values.shape  # six of the nine prompts are left to measure on
    (2, (6, 2))

    Its own seed would choose by what that seed's noise likes, which is the same on all prompts. One seed has no others.

    Args:
        values: `(prompts, seeds, columns)`.
        columns: those to choose among.
        clusters: `(prompts,)`; all prompts of a cluster are on the same side.
    """
    number = np.unique(clusters, return_inverse=True)[1]
    mask = validation(int(number.max()) + 1)[number]
    mean = values[mask].mean(axis=0)[:, list(columns)]
    others = mean.sum(axis=0) - mean if len(mean) > 1 else mean
    best = np.asarray(columns)[others.argmax(axis=1)]
    chosen = values[~mask][:, np.arange(len(best)), best]
    return ValidationChoice(int(np.bincount(best).argmax()), ~mask, chosen, clusters[~mask])


def complete(*arrays: Array) -> BoolArray:
    """Return of which prompts all values of all arrays are finite.

    >>> complete(np.array([[1.0], [np.nan], [3.0]]), np.array([[4.0], [5.0], [6.0]]))
    array([ True, False,  True])
    """
    return np.asarray(np.all([np.isfinite(x).reshape(len(x), -1).all(axis=1) for x in arrays], axis=0))
