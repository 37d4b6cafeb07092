"""Reading what a claim needs from a study's rows: the same setting and the same seeds for all that is compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from embrm.core.arrays import Array, IntArray
from embrm.study.claims.case import CHANNELS, CLEAN, FAIR, Case
from embrm.study.claims.fits import DatasetFits, MissingError, missing
from embrm.study.claims.halves import mean_gain_and_drop
from embrm.study.claims.margins import GAIN
from embrm.study.claims.sample import Sample, SampleStatistic, resample
from embrm.study.metric import Metric
from embrm.study.results import Row

ENDPOINTS = (4.0, 3.0, 2.0, 1.0)  # nats
STANDARD = "mlp"  # title of the standard head, by whose gain effects are measured
Extreme = Literal["largest", "smallest"]


@dataclass(frozen=True)
class Of:
    """An array of a head's fits.

    >>> Of("mlp", Metric("path", "mean"))
    Of(head='mlp', metric=Metric(family='path', name='mean', space=''), flips=None, mechanism=None)

    Attributes:
        head: title.
        metric: which array.
        flips, mechanism: of the training pairs; None means those under which the claim is being examined.
    """

    head: str
    metric: Metric
    flips: float | None = None
    mechanism: str | None = None


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
        by = "/".join(self.mechanisms)
        return f"{self.pairs} pairs, {by}, {flips} % flips, {self.seeds} seed{'s' * (self.seeds > 1)}"


@dataclass(frozen=True, eq=False)
class GoldCurves:
    """Gold of several heads or rules in one channel.

    Attributes:
        kl: `(k,)` nats from π_ref.
        gold: `(prompts, seeds, wanted, k)`.
        clusters: `(prompts,)`.
        end: where the curves end, in words.
    """

    kl: Array
    gold: Array
    clusters: IntArray
    end: str


@dataclass(frozen=True, eq=False)
class GoldEnds:
    """Gold of several heads or rules at one place of a channel.

    Attributes:
        gold: `(prompts, seeds, wanted)`.
        clusters: `(prompts,)`.
        at: which place, in words.
    """

    gold: Array
    clusters: IntArray
    at: str


@dataclass(frozen=True, eq=False)
class Cells:
    """The rows of one data set: a claim asks it for arrays, and it takes them at the same setting and the same seeds.

    Topics are resampled with the seeds; a claim takes `gather` for any arrays, `curves` for gold along a channel,
    `endpoints` for gold at one place of it, and `mean` or `sample` for the bootstrap of what it computes from them.

    Attributes:
        fits: of the data set.
        draws: of the bootstrap.
        case: where the claim is being examined.
        settings: what was read, in that order.
    """

    fits: DatasetFits
    draws: int
    case: Case = field(default_factory=Case)
    settings: list[Setting] = field(default_factory=list)

    @property
    def dataset(self) -> str:
        """Name of the data set."""
        return self.fits.dataset

    @property
    def accuracy(self) -> Metric:
        """The accuracy on prompts like those of training: the world has other splits beside that one."""
        inside = Metric("accuracy", "in")
        return inside if any(inside in row.arrays for row in self.fits.rows) else Metric("accuracy", "test")

    def gold(self, rule: str) -> Metric:
        """Return the gold of a rule in the channel in which the claim is being examined."""
        return Metric(self.case.channel or CHANNELS[0], rule)

    def gather(self, *wanted: Of, pairs: Extreme | int = "largest") -> list[Array]:
        """Return each array over the seeds that all have, `(prompts, seeds, ...)`, at one size of pairs.

        Raises:
            MissingError: a head, an array, or a setting with all of them is not there; the message says which.
        """
        at = [(of.mechanism or self.case.mechanism, self.case.flips if of.flips is None else of.flips) for of in wanted]
        found = [self.fits.arrays(of.head, of.metric, *where) for of, where in zip(wanted, at, strict=True)]
        common = set.intersection(*(set(rows) for rows in found))
        sizes = {size for size, _ in common if pairs in ("largest", "smallest", size)}
        if not sizes:
            raise missing(f"{self.dataset} has no size of pairs and seed at which all of {_listed(wanted)} were fitted")
        size = min(sizes) if pairs == "smallest" else max(sizes)
        keys = sorted(key for key in common if key[0] == size)
        mechanisms = tuple(dict.fromkeys(self.fits.mechanism(title) for title, _ in at))
        self.settings.append(Setting(size, mechanisms, tuple(sorted({flips for _, flips in at})), len(keys)))
        return [np.stack([rows[key] for key in keys], axis=1) for rows in found]

    def runs(self, head: str, mechanism: str | None = None, *, rule: str = "") -> list[Row]:
        """Return the training runs against a head, by a rule or by its mean, in the order of their seeds.

        Args:
            head: title.
            mechanism: title; None is where the claim is being examined.
            rule: title.
        """
        title = self.fits.mechanism(self.case.mechanism if mechanism is None else mechanism)
        return list(self.fits.results.select(kind="rl", dataset=self.dataset, head=head, mechanism=title, rule=rule))

    def clusters(self, metric: Metric) -> IntArray:
        """Return the cluster of each prompt of a metric's arrays, `(prompts,)`; see `DatasetFits.clusters`."""
        return self.fits.clusters(metric)

    def curves(self, *wanted: Of, pairs: Extreme | int = "largest") -> GoldCurves:
        """Return gold along a channel, as far as it is reliable for all.

        Raises:
            MissingError: see `gather`; or it is not reliable beyond the reference policy.
        """
        gold = np.stack(self.gather(*wanted, pairs=pairs), axis=2)
        metric = wanted[0].metric
        kl = self.fits.kl(metric.family)
        reach = int(np.isfinite(gold).all(axis=(0, 1, 2)).cumprod().sum())
        if reach < 2:
            raise missing(f"gold of {_listed(wanted)} of {self.dataset} is not reliable at any KL above 0")
        bon = metric.family == "bon"
        end = f"best of {self.fits.results.sizes(self.dataset)[reach - 1]}" if bon else f"{kl[reach - 1]:.2g} nats"
        return GoldCurves(kl[:reach], gold[..., :reach], self.clusters(metric), end)

    def endpoints(self, *wanted: Of, pairs: Extreme | int = "largest") -> GoldEnds:
        """Return gold at one place: the largest n, or 4, 3, 2 or 1 nats, as far as all are reliable.

        Where even 1 nat is too far, it is the last KL at which all are.

        Raises:
            MissingError: see `curves`.
        """
        found = self.curves(*wanted, pairs=pairs)
        kl, gold = found.kl, found.gold
        if wanted[0].metric.family == "bon":
            return GoldEnds(gold[..., -1], found.clusters, f"of the {found.end}")
        end = next((e for e in ENDPOINTS if e <= kl[-1] + 1e-9), float(kl[-1]))
        right = min(int(np.searchsorted(kl, end - 1e-9)), len(kl) - 1)
        share = (end - kl[right - 1]) / (kl[right] - kl[right - 1])
        values = (1 - share) * gold[..., right - 1] + share * gold[..., right]
        return GoldEnds(values, found.clusters, f"at {end:.2g} nats")

    def gain(self) -> float | None:
        """Return the standard head's own gain in gold from π_ref to its peak, in this channel.

        It is what that head gains from fair annotators and clean labels, so that all mechanisms have one measure: under
        a strong one it may gain next to nothing. Where that was not fitted, it is what it gains where the claim is
        being examined. The training set is as large as what was read before. None where no standard head was fitted,
        or where it gains nothing: then there is no measure of how small an effect may be.
        """
        aside = Cells(self.fits, self.draws, self.case)
        pairs: Extreme | int = self.settings[0].pairs if self.settings else "largest"
        for at in ((CLEAN, FAIR), (None, None)):
            try:
                found = aside.curves(Of(STANDARD, self.gold("mean"), *at), pairs=pairs)
            except MissingError:
                continue
            gain = mean_gain_and_drop(found.gold, found.clusters)[0]
            return gain if gain > 0 else None
        return None

    @property
    def smallest(self) -> float | None:
        """The smallest effect on gold that is of interest: a tenth of the standard head's own gain."""
        gain = self.gain()
        return None if gain is None else GAIN * gain

    def sample(
        self,
        groups: Sequence[Array],
        statistic: SampleStatistic,
        *,
        clusters: Sequence[IntArray | None] = (),
        crossed: bool = True,
    ) -> Sample:
        """Return the bootstrap of a statistic; see `resample`.

        Raises:
            MissingError: there are too few prompts, or all are of one cluster.
        """
        counts = [len(np.unique(c)) if c is not None else len(x) for x, c in _clustered(groups, clusters)]
        if min(counts) < 2:
            raise missing(f"{self.dataset} has fewer than 2 topics to measure this on")
        return resample(groups, statistic, draws=self.draws, crossed=crossed, clusters=clusters)

    def mean(self, values: Array, clusters: IntArray | None) -> Sample:
        """Return the mean of `(prompts, seeds)`, such as paired differences.

        Args:
            values: on each prompt and seed.
            clusters: `(prompts,)`; None where each row of the values is a unit of its own.
        """
        return self.sample([values], lambda means: means[0], clusters=[clusters])


def _clustered(groups: Sequence[Array], clusters: Sequence[IntArray | None]) -> Sequence[tuple[Array, IntArray | None]]:
    return list(zip(groups, clusters or [None] * len(groups), strict=True))


def _listed(wanted: Sequence[Of]) -> str:
    return ", ".join(dict.fromkeys(f"'{of.head}' ({of.metric})" for of in wanted))
