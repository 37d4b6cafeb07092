"""What a study trains and measures on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, Self

from embrm.bestofn.tilt import TiltPath
from embrm.core.arrays import Array, IntArray
from embrm.core.data import Features, Pairs
from embrm.embedders import Embedder
from embrm.study.datasets._registry import registry
from embrm.study.schema import DatasetConfig
from embrm.world.mechanism import Mechanism


class PairCounter(Protocol):
    """What counts the training pairs that there are by a mechanism."""

    def __call__(self, *, mechanism: Mechanism, seed: int) -> int:
        """Return how many; see `Dataset.available`."""


@dataclass(frozen=True, eq=False)
class Dataset(ABC):
    """What heads are trained and measured on. All that is measured on stands in one matrix, scored once.

    Attributes:
        name: what tables call it.
        features: all texts that models are measured on, `m` rows.
        tests: split → pairs over `features`, on prompts without training pairs; the first is calibrated on.
        pool_rows: `(p,)` rows of `features` that make up the pools of π_ref.
        pool_offsets: `(prompts + 1,)` their boundaries.
        path_rows: `(T, n)` rows of the pools along which policies are tilted, padded with 0 where `log_weight` is -inf.
        log_weight: `(T, n)` log π_ref − log q.
        gold: `(m,)` gold reward, NaN where none is known; None without any.
        clusters: `(prompts,)` which cluster (topic, conversation, source) each prompt belongs to, by its number in
            `features.prompt`; None where each prompt is its own.
        exact: whether the pool is π_ref itself, so that every point of the path is reliable.
        needs: fields of its configuration that must be given.
        own_labels: whether the labels are what they are, so that there is no mechanism to choose.
    """

    name: str
    features: Features
    tests: Mapping[str, Pairs]
    pool_rows: IntArray
    pool_offsets: IntArray
    path_rows: IntArray
    log_weight: Array
    gold: Array | None
    exact: bool
    clusters: IntArray | None = field(default=None, kw_only=True)
    needs: ClassVar[tuple[str, ...]] = ()
    own_labels: ClassVar[bool] = False

    @classmethod
    @abstractmethod
    def identify(cls, config: DatasetConfig) -> str:
        """Return the hash of what the configuration names."""

    @classmethod
    @abstractmethod
    def open(cls, config: DatasetConfig) -> Self:
        """Read what the configuration names."""

    @classmethod
    def counter(cls, config: DatasetConfig) -> PairCounter | None:
        """Return `available` of what the configuration names, or None where that is not known before the run.

        Kinds that can count without any vectors do so.
        """
        return cls.open(config).available

    @abstractmethod
    def train(self, *, mechanism: Mechanism, flips: float, pairs: int, seed: int) -> Pairs:
        """Return training pairs that came by a mechanism, with label noise: a share `flips` of their labels is flipped.

        Raises:
            DataError: there are fewer than `pairs`.
            OptionError: this data set does not know what the mechanism asks for.
        """

    def written(self, rows: IntArray) -> list[tuple[str, str]]:
        """Return prompt and response of each of some rows of the pools; nothing where the texts are not kept."""
        return []

    @abstractmethod
    def embedder(self) -> Embedder:
        """Return what embeds new texts as the features were."""

    def believed(self, path: TiltPath) -> int:
        """Return how many points of a path over `path_rows` to believe, 1 or more: of a pool that is π_ref, all."""
        return len(path.inverse_beta) if self.exact else path.end + 1

    @abstractmethod
    def available(self, *, mechanism: Mechanism, seed: int) -> int:
        """Return how many training pairs there are by a mechanism.

        Raises:
            OptionError: this data set does not know what the mechanism asks for.
            DataError: the mechanism leaves nothing.
        """

    def seen(self, *, mechanism: Mechanism, pairs: int, seed: int) -> Mapping[str, float]:
        """Return what a mechanism did to training pairs, in numbers; none where the labels are what they are.

        "style_quality_correlation" is that of style and quality over the texts of the pairs, "seen_share" the share of
        the training texts that the pairs could have been about before texts were confounded.
        """
        return {}

    def cluster(self, rows: IntArray) -> IntArray:
        """Return the clusters `(r,)` of some rows of the features; each prompt is one where the data names none."""
        prompt = self.features.prompt[rows]
        return prompt if self.clusters is None else self.clusters[prompt]

    def classes(self, features: Features) -> list[str] | None:
        """Return the class of each row's prompt, for distances to what is usual there, or None where there are none."""
        return None


def kind_of(config: DatasetConfig) -> type[Dataset]:
    """Return the class of a data set.

    Raises:
        UnknownNameError: there is no such kind; the message suggests the nearest.
    """
    cls: type[Dataset] = registry.get(config.kind)  # type: ignore[assignment]  # a class, which is what is registered
    return cls


def open_dataset(config: DatasetConfig) -> Dataset:
    """Open a data set; a language model writes its pool when it is first opened.

    Raises:
        DataError: a file is absent or not what it should be.
        OptionError: an option of the embedder, the policy or the gold cannot be.
        UnknownNameError: no embedder has that name.
    """
    return kind_of(config).open(config)


def identify(config: DatasetConfig) -> str:
    """Return the hash of what a data set holds, without reading its vectors.

    Raises:
        DataError: a file is absent.
        OptionError: see `open_dataset`.
    """
    return kind_of(config).identify(config)
