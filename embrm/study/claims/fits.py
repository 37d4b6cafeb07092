"""The rows of one data set, found by what they are of."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cached_property

import numpy as np

from embrm.bestofn import kl_bound
from embrm.core.arrays import Array, IntArray
from embrm.errors import DataError
from embrm.study.metric import Metric
from embrm.study.results import Results, Row
from embrm.study.schema import OWN_LABELS

WITHOUT_GOLD = ("accuracy", "reliability")  # families that are measured also where there is no gold


class MissingError(DataError):
    """What a claim needs is not among the results: the claim is not run, and the message is its reason."""


def missing(what: str) -> MissingError:
    """Return the error that says what is not there."""
    return MissingError(what)


@dataclass(frozen=True, eq=False)
class DatasetFits:
    """The fitted heads of one data set.

    Attributes:
        results: of the study.
        dataset: its name.
    """

    results: Results
    dataset: str

    @cached_property
    def rows(self) -> list[Row]:
        """All of them."""
        return list(self.results.select(kind="fit", dataset=self.dataset))

    @cached_property
    def measured(self) -> list[Row]:
        """All of them, and the experiments."""
        return [*self.rows, *self.results.select(kind="experiment", dataset=self.dataset)]

    @cached_property
    def titles(self) -> list[str]:
        """Titles of the heads that were fitted, and of the experiments."""
        return sorted({row.cell.head for row in self.measured})

    @cached_property
    def mechanisms(self) -> list[str]:
        """Titles of the mechanisms under which anything was measured, in the order of the configuration."""
        order = list(self.results.config.mechanisms)
        found = {row.cell.mechanism for row in self.measured}
        return sorted(found, key=lambda title: (order.index(title) if title in order else len(order), title))

    @cached_property
    def _grouped(self) -> dict[tuple[str, str, float], list[Row]]:
        groups = defaultdict(list)
        for row in self.measured:
            groups[row.cell.head, row.cell.mechanism, round(row.cell.flips, 6)].append(row)
        return groups

    def flips(self, mechanism: str, heads: Sequence[str]) -> list[float]:
        """Return the noise levels at which each pattern of titles has a head that was fitted under a mechanism."""
        found: dict[float, set[str]] = defaultdict(set)
        for head, title, flips in self._grouped:
            if title == mechanism:
                found[flips].add(head)
        return sorted(
            flips
            for flips, titles in found.items()
            if all(any(fnmatchcase(title, pattern) for title in titles) for pattern in heads)
        )

    def mechanism(self, title: str) -> str:
        """Return the title of a mechanism on this data set, whose labels may be what they are."""
        return OWN_LABELS if OWN_LABELS in self.mechanisms else title

    def arrays(self, head: str, metric: Metric, mechanism: str, flips: float) -> dict[tuple[int, int], Array]:
        """Return an array of a head's fits by (pairs, seed).

        Raises:
            MissingError: there is none; the message says what is not there.
        """
        if head not in self.titles:
            kind = "experiment" if metric.family == "experiment" else "head"
            raise missing(f"{self.dataset} has no {kind} titled '{head}'")
        mechanism = self.mechanism(mechanism)
        at = f"under '{mechanism}' at {100 * flips:g} % flips"
        rows = self._grouped.get((head, mechanism, round(flips, 6)))
        if not rows:
            raise missing(f"{self.dataset} has no '{head}' {at}")
        found = {(row.cell.pairs, row.cell.seed): row.arrays[metric] for row in rows if metric in row.arrays}
        if not found:
            raise missing(f"'{head}' of {self.dataset} has no '{metric}' {at}{self._without_gold(metric)}")
        return found

    def _without_gold(self, metric: Metric) -> str:
        """Say that a data set has no gold where that is why something was not measured on it."""
        measured = any(Metric("sizes") in row.arrays for row in self.rows)
        needless = measured or metric.family in WITHOUT_GOLD
        return "" if needless else ": that needs pools with gold, so give the data set a 'pool' whose rows have 'gold'"

    def rules(self, head: str, family: str, prefix: str) -> list[str]:
        """Return the titles of a head's rules that begin so, in the order of the number that follows.

        Raises:
            MissingError: there are none.
        """
        metrics = {metric for row in self.measured if row.cell.head == head for metric in row.arrays}
        found = {m.name for m in metrics if m.family == family and m.name.startswith(prefix)}
        if not found:
            raise missing(f"{self.dataset} has no {family} of '{head}' under a rule titled '{prefix}…'")
        return sorted(found, key=lambda title: float(title.removeprefix(prefix)))

    def kl(self, family: str) -> Array:
        """Return the KLs from π_ref `(k,)` at which a channel's gold was measured, in nats."""
        if family == "bon":
            return kl_bound(self.results.sizes(self.dataset))
        return np.linspace(0, self.results.config.kl_end, self.results.config.kl_points)

    def clusters(self, metric: Metric) -> IntArray:
        """Return to which cluster (a topic, a conversation, a source) each prompt of a metric belongs, `(prompts,)`.

        Where neither the study's controls nor an experiment say anything of clusters, each prompt is its own.

        Raises:
            MissingError: no row has the metric.
        """
        found = next(
            (row.arrays[metric] for row in self.results.select(dataset=self.dataset) if metric in row.arrays), None
        )
        if found is None:
            raise missing(f"{self.dataset} has no '{metric}'")
        own = {"accuracy": metric.name, "experiment": metric.name, "bon": "pool"}
        of = Metric("clusters", own.get(metric.family, "path"))
        rows = self.results.select(dataset=self.dataset)
        named = next((row.arrays[of] for row in rows if of in row.arrays), None)
        return np.arange(len(found)) if named is None else named.astype(np.int64)
