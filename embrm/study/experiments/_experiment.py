"""What every experiment is: options, and a method that measures something on a data set, prompt by prompt."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from embrm.core.arrays import Array, IntArray
from embrm.core.data import Pairs
from embrm.core.recipe import Recipe
from embrm.errors import DataError
from embrm.study.datasets import Dataset
from embrm.study.experiments._registry import registry
from embrm.world.mechanism import Mechanism


@dataclass(frozen=True, eq=False)
class ExperimentSetting:
    """Where an experiment is made: one cell of a study.

    Attributes:
        data: texts, gold, splits; of the kinds that the experiment names.
        mechanism, flips: how labels come to be, and which share of them is flipped.
        pairs: size of the training set, in what the experiment learns from.
        seed: determines all that is drawn.
    """

    data: Dataset
    mechanism: Mechanism
    flips: float
    pairs: int
    seed: int

    def training(self) -> Pairs:
        """Return the training pairs that a head of the study has in this setting.

        Raises:
            DataError: there are fewer than asked for.
            OptionError: the data set does not know what the mechanism asks for.
        """
        return self.data.train(mechanism=self.mechanism, flips=self.flips, pairs=self.pairs, seed=self.seed)


@dataclass(frozen=True, eq=False)
class PerPrompt:
    """One measurement of an experiment.

    >>> import numpy as np
    >>> PerPrompt(np.array([0.5, 1.0]), np.array([3, 3])).values.mean()
    np.float64(0.75)

    Attributes:
        values: `(prompts,)`, NaN where a prompt has none. Under every seed they are of the same prompts, in one order.
        clusters: `(prompts,)` to which cluster, such as a topic, each prompt belongs: what a bootstrap draws.

    Raises:
        DataError: they are not two vectors of one length.
    """

    values: Array
    clusters: IntArray

    def __post_init__(self) -> None:
        if self.values.ndim != 1 or self.values.shape != self.clusters.shape:
            raise DataError(
                "a measurement has a value and a cluster for each prompt, `(prompts,)` both, got shapes "
                f"{self.values.shape} and {self.clusters.shape}"
            )


class Experiment(Recipe, ABC):
    """A frozen dataclass of options that measures what a study's curves do not.

    Attributes:
        kinds: names of the kinds of data sets that it can be made on.
        core_seconds: what one cell takes on one thread, for the forecast of a study that has no times yet.
    """

    family = registry
    kinds: ClassVar[tuple[str, ...]] = ("fast",)
    core_seconds: ClassVar[float] = 5.0

    @abstractmethod
    def measure(self, setting: ExperimentSetting) -> Mapping[str, PerPrompt]:
        """Return measurements by their names, the same names in every setting.

        Claims read them as `Of(TITLE, Metric("experiment", "TITLE.NAME"))`.
        """
