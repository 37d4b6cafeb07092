"""Reading what a claim needs from a study's rows: the same setting and the same seeds for all that is compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np

from embrm.core.arrays import Array, BoolArray
from embrm.errors import DataError
from embrm.study.claims.sample import Sample, SampleStatistic, resample
from embrm.study.metric import Metric
from embrm.study.results import Results, Row, validation
from embrm.study.schema import OWN_LABELS

ENDPOINTS = (4.0, 2.0, 1.0)  # nats
NOISY, CLEAN = 0.25, 0.0  # flips
BIASED, FAIR = "biased", "fair"  # titles of mechanisms
Extreme = Literal["largest", "smallest"]


class MissingError(DataError):
    """What a claim needs is not among the results: the claim is not run."""


def missing(what: str) -> MissingError:
    """Return the error that says what is not there; it becomes the reason why a claim is not run."""
    return MissingError(what)


@dataclass(frozen=True)
class Of:
    """An array of a head's fits.

    >>> Of("mlp", Metric("path", "mean"))
    Of(head='mlp', metric=Metric(family='path', name='mean', space=''), flips=0.25, mechanism='biased')

    Attributes:
        head: title.
        metric: which array.
        flips: label noise, the share of the training labels that are flipped.
        mechanism: title of the one by which the training pairs came; labels that are what they are have but one.
    """

    head: str
    metric: Metric
    flips: float = NOISY
    mechanism: str = BIASED


@dataclass(frozen=True)
class Setting:
    """Where something was read.

    Attributes:
        pairs: size of the training set.
        mechanisms, flips: of the training pairs, each that was read.
        seeds: how many.
    """

    pairs: int
    mechanisms: tuple[str, ...]
    flips: tuple[float, ...]
    seeds: int

    def __str__(self) -> str:
        flips = "/".join(f"{100 * level:g}" for level in self.flips)
        mechanisms = "/".join(self.mechanisms)
        return f"{self.pairs} pairs, {mechanisms}, {flips} % flips, {self.seeds} seed{'s' * (self.seeds > 1)}"


@dataclass(frozen=True, eq=False)
class Cells:
    """The rows of one data set: a claim asks it for arrays, and it takes them at the same setting and the same seeds.

    Prompts are resampled with the seeds; a claim takes `gather` for any arrays, `paths` for gold along KL, `endpoints`
    for gold at one KL, and `mean` or `sample` for the bootstrap of what it computes from them.

    Attributes:
        results: of the study.
        dataset: its name.
        draws: of the bootstrap.
        settings: what was read, in that order.
    """

    results: Results
    dataset: str
    draws: int
    settings: list[Setting] = field(default_factory=list)

    @property
    def accuracy(self) -> Metric:
        """The accuracy on prompts like those of training: the world has other splits beside that one."""
        inside = Metric("accuracy", "in")
        return inside if any(inside in row.arrays for row in self.fits) else Metric("accuracy", "test")

    @cached_property
    def fits(self) -> list[Row]:
        """Return the rows of fitted heads."""
        return list(self.results.select(kind="fit", dataset=self.dataset))

    @cached_property
    def titles(self) -> list[str]:
        """Return the titles of the heads that were fitted."""
        return sorted({row.cell.head for row in self.fits})

    @cached_property
    def kl(self) -> Array:
        """Return the KLs of the paths, `(k,)` nats."""
        return np.linspace(0, self.results.config.kl_end, self.results.config.kl_points)

    def mechanism(self, title: str) -> str:
        """Return the title of a mechanism on this data set, whose labels may be what they are."""
        own = any(row.cell.mechanism == OWN_LABELS for row in self.fits)
        return OWN_LABELS if own else title

    def rules(self, head: str, prefix: str) -> list[str]:
        """Return the titles of a head's rules that begin so, in the order of the number that follows.

        Raises:
            MissingError: there are none.
        """
        metrics = {metric for row in self.fits if row.cell.head == head for metric in row.arrays}
        found = {m.name for m in metrics if m.family == "path" and m.name.startswith(prefix)}
        if not found:
            raise missing(f"{self.dataset} has no path of '{head}' under a rule titled '{prefix}…'")
        return sorted(found, key=lambda title: float(title.removeprefix(prefix)))

    def gather(self, *wanted: Of, pairs: Extreme = "largest") -> list[Array]:
        """Return each array over the seeds that all have, `(prompts, seeds, ...)`, at one size of pairs.

        Raises:
            MissingError: a head, an array, or a setting with all of them is not there; the message says which.
        """
        found = [self._rows(of) for of in wanted]
        common = set.intersection(*(set(rows) for rows in found))
        if not common:
            raise missing(f"{self.dataset} has no size of pairs and seed at which all of {_listed(wanted)} were fitted")
        sizes = [size for size, _ in common]
        size = max(sizes) if pairs == "largest" else min(sizes)
        keys = sorted(key for key in common if key[0] == size)
        mechanisms = tuple(dict.fromkeys(self.mechanism(of.mechanism) for of in wanted))
        flips = tuple(sorted({of.flips for of in wanted}))
        self.settings.append(Setting(size, mechanisms, flips, len(keys)))
        return [np.stack([rows[key] for key in keys], axis=1) for rows in found]

    def _rows(self, of: Of) -> dict[tuple[int, int], Array]:
        if of.head not in self.titles:
            raise missing(f"{self.dataset} has no head titled '{of.head}'")
        mechanism = self.mechanism(of.mechanism)
        rows = [
            row
            for row in self.fits
            if row.cell.head == of.head and row.cell.mechanism == mechanism and np.isclose(row.cell.flips, of.flips)
        ]
        at = f"at '{mechanism}' and flips {of.flips:g}"
        if not rows:
            raise missing(f"{self.dataset} has no '{of.head}' {at}")
        found = {(row.cell.pairs, row.cell.seed): row.arrays[of.metric] for row in rows if of.metric in row.arrays}
        if not found:
            raise missing(f"'{of.head}' of {self.dataset} has no '{of.metric}' {at}{self._without_gold(of.metric)}")
        return found

    def _without_gold(self, metric: Metric) -> str:
        """Say that a data set has no gold where that is why something was not measured on it."""
        measured = any(Metric("sizes") in row.arrays for row in self.fits)
        needless = measured or metric.family in ("accuracy", "reliability")
        return "" if needless else ": that needs pools with gold, so give the data set a 'pool' whose rows have 'gold'"

    def paths(self, *wanted: Of, pairs: Extreme = "largest") -> tuple[Array, Array]:
        """Return KLs `(k,)` and gold `(prompts, seeds, wanted, k)`, as far as all paths are reliable.

        Raises:
            MissingError: see `gather`; or the paths are not reliable beyond the reference policy.
        """
        gold = np.stack(self.gather(*wanted, pairs=pairs), axis=2)
        reach = int(np.isfinite(gold).all(axis=(0, 1, 2)).cumprod().sum())
        if reach < 2:
            raise missing(f"the paths of {_listed(wanted)} of {self.dataset} are not reliable at any KL above 0")
        return self.kl[:reach], gold[..., :reach]

    def endpoints(self, *wanted: Of, pairs: Extreme = "largest") -> tuple[float, Array]:
        """Return a KL and the gold there, `(prompts, seeds, wanted)`: at 4, 2 or 1 nats, as far as all are reliable.

        Where even 1 nat is too far, it is the last KL at which all are.

        Raises:
            MissingError: see `paths`.
        """
        kl, gold = self.paths(*wanted, pairs=pairs)
        end = next((e for e in ENDPOINTS if e <= kl[-1] + 1e-9), float(kl[-1]))
        right = min(int(np.searchsorted(kl, end - 1e-9)), len(kl) - 1)
        share = (end - kl[right - 1]) / (kl[right] - kl[right - 1])
        return end, (1 - share) * gold[..., right - 1] + share * gold[..., right]

    def best_of_n(self, head: str, first: str, second: str) -> str:
        """Return in words the gold of two rules of a head at the largest n."""
        sizes, *gold = self.gather(
            *(Of(head, metric) for metric in (Metric("sizes"), Metric("bon", first), Metric("bon", second)))
        )
        return f"best of {sizes[-1, 0]:g} is {gold[0][..., -1].mean():.3g} against {gold[1][..., -1].mean():.3g}"

    def sample(self, groups: Sequence[Array], statistic: SampleStatistic, *, crossed: bool = True) -> Sample:
        """Return the bootstrap of a statistic; see `resample`.

        Raises:
            MissingError: there are too few prompts.
        """
        if min(map(len, groups)) < 2:
            raise missing(f"{self.dataset} has fewer than 2 prompts to measure this on")
        return resample(groups, statistic, draws=self.draws, crossed=crossed)

    def mean(self, values: Array) -> Sample:
        """Return the mean of `(prompts, seeds)`, such as paired differences."""
        return self.sample([values], lambda means: means[0])


@dataclass(frozen=True, eq=False)
class ValidationChoice:
    """What a parameter's choice on validation prompts leads to on the others.

    Attributes:
        usual: the column that was chosen most often.
        rest: which prompts the claim is measured on.
        values: `(prompts, seeds)` of the chosen columns, on those prompts.
    """

    usual: int
    rest: BoolArray
    values: Array


def choose(values: Array, columns: Sequence[int]) -> ValidationChoice:
    """Choose the column with the highest mean on validation prompts, for each seed by the other seeds.

    >>> gold = np.zeros((9, 2, 3))  # prompts, seeds, values of the parameter
    >>> gold[..., 2] = 1.0
    >>> found = choose(gold, range(3))
    >>> found.usual, found.values.shape  # six of the nine prompts are left to measure on
    (2, (6, 2))

    Its own seed would choose by what that seed's noise likes, which is the same on all prompts. One seed has no others.

    Args:
        values: `(prompts, seeds, columns)`.
        columns: those to choose among.
    """
    mask = validation(len(values))
    mean = values[mask].mean(axis=0)[:, list(columns)]
    others = mean.sum(axis=0) - mean if len(mean) > 1 else mean
    best = np.asarray(columns)[others.argmax(axis=1)]
    return ValidationChoice(int(np.bincount(best).argmax()), ~mask, values[~mask][:, np.arange(len(best)), best])


def complete(*arrays: Array) -> list[Array]:
    """Return the arrays with only those prompts of which all values of all arrays are finite.

    >>> complete(np.array([[1.0], [np.nan], [3.0]]), np.array([[4.0], [5.0], [6.0]]))
    [array([[1.],
           [3.]]), array([[4.],
           [6.]])]
    """
    keep = np.all([np.isfinite(x).reshape(len(x), -1).all(axis=1) for x in arrays], axis=0)
    return [x[keep] for x in arrays]


def _listed(wanted: Sequence[Of]) -> str:
    return ", ".join(dict.fromkeys(f"'{of.head}' ({of.metric})" for of in wanted))
