"""Responses in steps: the prefixes of each, and which of them are still right."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import Array, IntArray, as_vector, check_offsets
from embrm.core.data import Features, Pairs
from embrm.errors import DataError

RIGHT, WRONG, UNKNOWN = 1.0, 0.0, np.nan


@dataclass(frozen=True, eq=False)
class StepTraces:
    """Traces of steps as their prefixes: row j of a trace is its text up to and with step j.

    Attributes:
        features: of the prefixes, `m` rows, trace by trace; `features.prompt` is the prompt that each answers.
        offsets: `(traces + 1,)` where each trace begins and ends; every trace has at least one step.
        labels: `(m,)` 1 where the step is right, 0 where it is wrong, NaN where nobody said, such as after the first
            error of a trace whose annotation ends there.

    Raises:
        DataError: the shapes do not agree, a label is another number, or a trace has rows of several prompts.
    """

    features: Features
    offsets: IntArray
    labels: Array

    def __post_init__(self) -> None:
        m = len(self.features)
        object.__setattr__(self, "offsets", check_offsets(self.offsets, m))
        labels = np.asarray(self.labels, dtype=np.float64)
        if labels.shape != (m,) or not (np.isnan(labels) | np.isin(labels, (RIGHT, WRONG))).all():
            raise DataError(
                f"labels must be 1, 0 or NaN for each of the {m} prefixes, got shape {labels.shape} with the values "
                f"{np.unique(labels)[:5].tolist()}"
            )
        object.__setattr__(self, "labels", labels)
        mixed = np.flatnonzero(self.features.prompt != self.features.prompt[self.offsets[:-1]][self.trace])
        if mixed.size:
            raise DataError(f"the steps of a trace must answer one prompt, row {mixed[0]} answers another")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def trace(self) -> IntArray:
        """Which trace each row belongs to, `(m,)`."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    @property
    def prompt(self) -> IntArray:
        """Prompt of each trace, `(traces,)`."""
        return self.features.prompt[self.offsets[:-1]]

    @property
    def first_error(self) -> IntArray:
        """Index of the first wrong step of each trace, -1 where no step is known to be wrong, `(traces,)`."""
        return first_below(np.where(np.isnan(self.labels), RIGHT, self.labels), self.offsets, 0.5)

    def take(self, traces: npt.ArrayLike) -> StepTraces:
        """Return the given traces (indices or a mask), in that order."""
        index = np.arange(len(self))[np.asarray(traces)]
        rows = np.concatenate([np.arange(self.offsets[i], self.offsets[i + 1]) for i in index])
        sizes = np.diff(self.offsets)[index]
        return StepTraces(self.features.take(rows), np.append(0, np.cumsum(sizes)), self.labels[rows])

    def outcomes(self) -> StepTraces:
        """Return the same traces with one label each, at the last step: whether all known steps are right."""
        labels = np.full(len(self.labels), UNKNOWN)
        labels[self.offsets[1:] - 1] = np.where(self.first_error < 0, RIGHT, WRONG)
        return replace(self, labels=labels)

    def pairs(self) -> StepPairs:
        """Return the labelled prefixes two by two, as heads with `loss="step"` are trained on them.

        Raises:
            DataError: no prefix has a label, or all have the same one.
        """
        known = np.flatnonzero(~np.isnan(self.labels))
        if len(np.unique(self.labels[known])) < 2:
            found = f"all {len(known)} labels are {self.labels[known[0]]:g}" if len(known) else "no step has a label"
            raise DataError(f"a step reward needs steps that are right and steps that are wrong, and {found}")
        known = known[np.argsort(self.features.prompt[known], kind="stable")]
        starts = np.flatnonzero(np.diff(self.features.prompt[known], prepend=-1))
        place = np.arange(len(known)) - np.repeat(starts, np.diff(np.append(starts, len(known))))
        first = np.flatnonzero(place % 2 == 0)
        # The last of an odd number stands beside itself, once without a label.
        beside = np.append(known, -1)[first + 1]
        alone = np.append(place, 0)[first + 1] % 2 == 0
        second = np.where(alone, known[first], beside)
        labels = np.stack([self.labels[known[first]], np.where(alone, UNKNOWN, self.labels[second])], axis=1)
        return StepPairs(self.features, known[first], second, labels=labels)


@dataclass(frozen=True, eq=False)
class StepPairs(Pairs):
    """Labelled prefixes two by two: what `loss="step"` reads where other losses read preferences.

    Neither text of a pair is preferred. `chosen` and `rejected` are two prefixes that answer one prompt, and every
    labelled prefix stands in exactly one pair, so that splits by prompt and early stopping are those of any pairs.

    Attributes:
        labels: `(n, 2)` 1, 0 or NaN (not counted) of both texts.
    """

    labels: Array = None  # type: ignore[assignment]  # fields before it have defaults

    def __post_init__(self) -> None:
        n, m = len(np.asarray(self.chosen)), len(self.features)
        for name in ("chosen", "rejected"):
            index = as_vector(getattr(self, name), name, n, np.int64)
            if n == 0 or index.min() < 0 or index.max() >= m:
                raise DataError(f"{name} must index the {m} rows of features, got {index}")
            object.__setattr__(self, name, index)
        if np.shape(self.labels) != (n, 2):
            raise DataError(f"labels must be ({n}, 2) for {n} pairs of prefixes, got shape {np.shape(self.labels)}")

    def take(self, index: npt.ArrayLike) -> StepPairs:
        """Return the given pairs (indices or a mask `(n,)`), sharing the features."""
        i = np.asarray(index)
        return replace(self, chosen=self.chosen[i], rejected=self.rejected[i], labels=self.labels[i])


def first_below(scores: Array, offsets: IntArray, threshold: float) -> IntArray:
    """Return for each trace the index of its first step whose score `(m,)` is below the threshold, -1 without any.

    >>> first_below(np.array([0.9, 0.2, 0.1, 0.8]), np.array([0, 3, 4]), 0.5)
    array([ 1, -1])
    """
    low = np.append(scores < threshold, True)
    place = np.flatnonzero(low)
    found = place[np.searchsorted(place, offsets[:-1])]
    return np.asarray(np.where(found < offsets[1:], found - offsets[:-1], -1))
