"""A sample of the world with vectors: training texts and pools, and what preferences and tests are made of them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from embrm.core.arrays import Array, BoolArray, IntArray
from embrm.core.data import Candidates, Features, Pairs
from embrm.core.provenance import Provenance
from embrm.errors import DataError, UnknownNameError
from embrm.policies.grammar import GrammarPolicy
from embrm.policies.pool import ProposalPool
from embrm.world.collect import Collected, collect, stock_of
from embrm.world.layout import PAIRS, Layout
from embrm.world.mechanism import Mechanism
from embrm.world.preferences import prefer
from embrm.world.world import Responses, World

FAIR = Mechanism()
SPLITS = ("training", "pools")


@dataclass(frozen=True, eq=False)
class WorldSample(ABC):
    """Texts of the world with the vectors of one embedder.

    The features have one view, "joint", the response's length in characters, and one prompt number for each wording of
    each topic.

    Attributes:
        world: topics, gold and annotators.
        layout: which topics and prompts each split has.
    """

    world: World
    layout: Layout

    @property
    @abstractmethod
    def responses(self) -> Mapping[str, Responses]:
        """The texts of each split: "training", which pairs are formed among, and "pools"."""

    @property
    @abstractmethod
    def features(self) -> Mapping[str, Features]:
        """The features of each split."""

    def preferences(
        self,
        mechanism: Mechanism = FAIR,
        *,
        flips: float = 0.0,
        temperature: float = 0.0,
        pairs: int = PAIRS,
        seed: int,
    ) -> Pairs:
        """Return training pairs as they are collected under a mechanism and labelled by its annotators.

        Args:
            mechanism: bias, confounding, coverage and unseen styles.
            flips: label noise, the share of labels that are flipped.
            temperature: Bradley–Terry noise, see `prefer`.
            pairs: how many.
            seed: determines which texts are compared, and the labels.

        Raises:
            DataError: the mechanism leaves fewer than `pairs`.
            UnknownNameError: an unseen style does not exist.
        """
        rows = self.collected(mechanism, pairs=pairs, seed=seed).rows
        utility = self.world.utility(self.responses["training"].counts, bias=mechanism.bias)
        first = prefer(utility[rows[:, 0]], utility[rows[:, 1]], seed=seed, flips=flips, temperature=temperature)
        return _ordered(self.features["training"], rows, first)

    def collected(self, mechanism: Mechanism = FAIR, *, pairs: int = PAIRS, seed: int) -> Collected:
        """Return the pairs of `preferences`, not labelled yet, with what was made of them; see `collect`."""
        written = self.responses["training"]
        stock = stock_of(
            self.world, written.counts, prompt=self._prompt(written), topic=written.topic, mechanism=mechanism
        )
        return collect(stock, mechanism, pairs=pairs, seed=seed)

    def test_pairs(self, split: Literal["in", "topics", "counts"], *, seed: int = 0) -> Pairs:
        """Return pairs of the pools' texts, labelled by the gold without noise, on prompts that no training pair has.

        Args:
            split: "in": training topics in new wordings; "topics": held-out topics; "counts": training topics, and
                one text of each pair has an attribute more often than any training text has it.
            seed: determines how ties fall.

        Raises:
            UnknownNameError: there is no such split.
        """
        written, own = self.responses["pools"], self.reference_rows
        known = np.isin(self.layout.prompts[:, 0], self.layout.training)
        if split in ("in", "topics"):
            rows = own[known if split == "in" else ~known]
            rows = rows[:, : rows.shape[1] // 2 * 2].reshape(-1, 2)
        elif split == "counts":
            most = self.responses["training"].counts.max(axis=0)
            beyond = np.flatnonzero((written.counts > most).any(axis=1) & np.isin(written.topic, self.layout.training))
            partner = own[beyond // sum(self.layout.proposal.sizes), np.arange(len(beyond)) % self.layout.pool]
            rows = np.stack([beyond, partner], axis=1)[beyond != partner]
        else:
            raise UnknownNameError(f"no test split '{split}'. There are: in, topics, counts.")
        first = prefer(self.gold[rows[:, 0]], self.gold[rows[:, 1]], seed=seed)
        return _ordered(self.features["pools"], rows, first)

    @cached_property
    def gold(self) -> Array:
        """The gold reward of each text of the pools, `(m,)`."""
        return self.world.gold(self.responses["pools"].counts)

    @property
    def reference_rows(self) -> IntArray:
        """Rows `(prompts, n)` of the pools' texts that π_ref wrote, for each prompt."""
        return self._rows[:, : self.layout.pool]

    def pools(self, topics: Sequence[int] | IntArray | None = None) -> Candidates:
        """Return the pools of π_ref, with gold; of the given topics, or of all."""
        own = self.reference_rows
        if topics is not None:
            own = own[np.isin(self.layout.prompts[:, 0], topics)]
        offsets = np.arange(len(own) + 1) * own.shape[1]
        return Candidates(self.features["pools"].take(own.ravel()), offsets, gold=self.gold[own.ravel()])

    def proposals(self) -> Candidates:
        """Return the stratified pools, with gold; the texts of `pools` come first in each."""
        return Candidates(self.features["pools"], np.append(self._rows[:, 0], len(self.gold)), gold=self.gold)

    def proposal_pool(self, proxy: Array) -> ProposalPool:
        """Return the stratified pools with the scores `(m,)` of the rows of `proposals()`, ready for `path()`."""
        counts, shape = self.responses["pools"].counts, self._rows.shape
        if np.shape(proxy) != (len(counts),):
            raise DataError(
                f"proxy must have shape ({len(counts)},) for the rows of proposals(), got {np.shape(proxy)}"
            )
        return ProposalPool(
            GrammarPolicy.from_probabilities(self.world.reference),
            self.layout.proposal,
            counts.reshape(*shape, counts.shape[1]),
            np.asarray(proxy, dtype=np.float64).reshape(shape),
            self.gold.reshape(shape),
        )

    @property
    def _rows(self) -> IntArray:
        return np.arange(len(self.gold)).reshape(len(self.layout.prompts), -1)

    def _prompt(self, written: Responses) -> IntArray:
        return written.topic * self.wordings + written.question

    @property
    def wordings(self) -> int:
        """How many numbers a topic has among those of the prompts: its prompts are `topic · wordings + wording`."""
        return max(len(topic.questions) for topic in self.world.spec.topics)

    @property
    def topics_of_prompts(self) -> IntArray:
        """Return the topic of each prompt by its number, of which every wording of every topic has one."""
        return np.repeat(np.arange(len(self.world.topics)), self.wordings)

    def with_vectors(self, written: Responses, vectors: Array, made: Provenance) -> Features:
        """Return texts as features, with their vectors `(n, d)` and what made them."""
        length = np.array([len(text) for text in written.texts])
        return Features({"joint": vectors}, prompt=self._prompt(written), length=length, embedder=made)


def _ordered(features: Features, rows: IntArray, first: BoolArray) -> Pairs:
    ordered = np.where(first[:, None], rows, rows[:, ::-1])
    return Pairs(features, ordered[:, 0], ordered[:, 1])
