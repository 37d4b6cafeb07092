"""Sizes of training sets that a data set can give, known before any fit."""

from __future__ import annotations

import warnings
from collections.abc import Iterable
from functools import cache

from embrm.errors import DataError
from embrm.study.config import DatasetConfig, StudyConfig
from embrm.study.datasets import kind_of
from embrm.study.datasets._base import PairCounter
from embrm.study.schema import TrainedPart


class SizeWarning(UserWarning):
    """Some sizes of training sets are left out, because a data set has fewer pairs."""


def limit(config: StudyConfig, data: DatasetConfig, mechanism: str, *, seeds: Iterable[int]) -> int | None:
    """Return how many pairs there are by a mechanism under every seed, or None where it is not known before the run.

    Raises:
        DataError: the mechanism leaves nothing.
        OptionError: the data set does not know what the mechanism asks for.
    """
    count = _counter(data.model_dump_json())
    if count is None:
        return None
    made = config.mechanism(mechanism)
    return min(count(mechanism=made, seed=seed) for seed in seeds)


def possible(config: StudyConfig, data: DatasetConfig, mechanism: str, *, seeds: Iterable[int]) -> list[int]:
    """Return the sizes of the study that a data set can give, and warn of those that it cannot.

    Raises:
        DataError: it can give none; or see `limit`.
        OptionError: see `limit`.
    """
    most = limit(config, data, mechanism, seeds=seeds)
    parts: list[TrainedPart] = [*config.heads, *config.experiments]
    asked = sorted({*config.pairs, *(n for part in parts for n in part.pairs or ())})
    there = [n for n in asked if most is None or n <= most]
    what = f"dataset '{data.name}' has {most} training pairs ('{mechanism}')"
    if not there:
        raise DataError(f"{what}, and the study asks for {asked[0]} or more; lower 'pairs', as by --set pairs=[{most}]")
    if len(there) < len(asked):
        left = ", ".join(str(n) for n in asked if n not in there)
        warnings.warn(f"{what}, so what asks for {left} is left out", SizeWarning, stacklevel=2)
    return there


@cache
def _counter(text: str) -> PairCounter | None:
    data = DatasetConfig.model_validate_json(text)
    return kind_of(data).counter(data)
