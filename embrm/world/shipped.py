"""The data that come with the project: texts, their vectors, and what the study makes of them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from embrm.core.arrays import Array, IntArray
from embrm.core.data import Candidates, Features, Pairs
from embrm.core.provenance import UNKNOWN, Provenance
from embrm.embedders import Embedder, provenance_of
from embrm.errors import DataError, UnknownNameError
from embrm.policies.grammar import GrammarPolicy
from embrm.policies.pool import ProposalPool
from embrm.world.collect import Collected, collect, texts_of
from embrm.world.data_folder import data_folder
from embrm.world.layout import PAIRS, Layout
from embrm.world.mechanism import Mechanism
from embrm.world.preferences import prefer
from embrm.world.world import Responses, World

FAIR = Mechanism()
SPLITS = ("pairs", "pools", "proposals")
EMBEDDERS: Mapping[str, Mapping[str, Any]] = {  # name → options; whether bfloat16 would round alike need not be tried
    "minilm": {"precision": "float32"},
    "hashing": {},
}


def read_responses(path: Path, world: World) -> Responses:
    """Read the texts of one split, one JSON object a line: topic, wording, counts, prompt, response.

    Raises:
        DataError: the file is absent, or names a topic that the world does not have.
    """
    try:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            rows: list[dict[str, Any]] = [json.loads(line) for line in file]
    except FileNotFoundError:
        raise DataError(f"no {path.name} in {path.parent}; make it with `embrm data build`") from None
    number = {name: i for i, name in enumerate(world.topics)}
    unknown = sorted({row["topic"] for row in rows} - set(number))
    if unknown:
        raise DataError(f"{path} has topics that the world lacks: {', '.join(unknown[:3])}; run `embrm data build`")
    return Responses(
        np.array([number[row["topic"]] for row in rows]),
        np.array([row["wording"] for row in rows]),
        np.array([row["counts"] for row in rows]),
        [row["prompt"] for row in rows],
        [row["response"] for row in rows],
    )


def load(embedder: str = "minilm", *, folder: Path | None = None) -> Shipped:
    """Open the shipped data with the vectors of one embedder, "minilm" or "hashing"; files are read when first used.

    Raises:
        UnknownNameError: there are no vectors of that embedder.
        DataError: the folder has no `world.yaml`, or it is faulty.
    """
    if embedder not in EMBEDDERS:
        raise UnknownNameError(f"no shipped vectors of '{embedder}'. There are: {', '.join(EMBEDDERS)}.")
    folder = data_folder() if folder is None else folder
    world = World.load(folder / "world.yaml")
    return Shipped(folder, embedder, world, Layout.of(world))


@dataclass(frozen=True, eq=False)
class Shipped:
    """The shipped data, with the vectors of one embedder.

    The features have one view, "joint", the response's length in characters, and one prompt number for each wording of
    each topic. Stored vectors are rounded, and otherwise those of the embedder: models fitted on them score texts.

    Attributes:
        folder: where the files are.
        embedder: "minilm" or "hashing".
        world: topics, gold and annotators.
        layout: which topics and prompts each split has.
    """

    folder: Path
    embedder: str
    world: World
    layout: Layout

    @cached_property
    def responses(self) -> dict[str, Responses]:
        """The texts of each split: "pairs", "pools", "proposals"."""
        return {name: read_responses(self.folder / f"{name}.jsonl.gz", self.world) for name in SPLITS}

    @cached_property
    def features(self) -> dict[str, Features]:
        """The features of each split."""
        path = self.folder / f"{self.embedder}.npz"
        if not path.exists():
            raise DataError(f"no {path.name} in {self.folder}; make it with `embrm data build`")
        with np.load(path) as stored:
            vectors = {name: stored[name].astype(np.float32) * np.float32(stored["step"]) for name in SPLITS}
        out = {}
        for name, written in self.responses.items():
            if len(vectors[name]) != len(written):
                raise DataError(
                    f"{path} has {len(vectors[name])} vectors for the {len(written)} texts of '{name}'; "
                    "run `embrm data build`"
                )
            length = np.array([len(text) for text in written.texts])
            out[name] = Features(
                {"joint": vectors[name]}, prompt=self._prompt(written), length=length, embedder=self._provenance
            )
        return out

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
        utility = self.world.utility(self.responses["pairs"].counts, bias=mechanism.bias)
        first = prefer(utility[rows[:, 0]], utility[rows[:, 1]], seed=seed, flips=flips, temperature=temperature)
        ordered = np.where(first[:, None], rows, rows[:, ::-1])
        return Pairs(self.features["pairs"], ordered[:, 0], ordered[:, 1])

    def collected(self, mechanism: Mechanism = FAIR, *, pairs: int = PAIRS, seed: int) -> Collected:
        """Return the pairs of `preferences`, not labelled yet, with what was made of them; see `collect`."""
        written = self.responses["pairs"]
        texts = texts_of(
            self.world, written.counts, prompt=self._prompt(written), topic=written.topic, mechanism=mechanism
        )
        return collect(texts, mechanism, pairs=pairs, seed=seed)

    def test_pairs(self, split: Literal["in", "topics", "counts"], *, seed: int = 0) -> Pairs:
        """Return pairs labelled by the gold, without noise, on prompts that no training pair has.

        Args:
            split: "in": training topics in a new wording; "topics": held-out topics; "counts": training topics, and
                one text of each pair has an attribute more often than any training text has it.
            seed: determines how ties fall.

        Raises:
            UnknownNameError: there is no such split.
        """
        pools = self.responses["pools"]
        last = pools.question == pools.question.max()
        if split in ("in", "topics"):
            asked = np.isin(pools.topic, self.layout.training if split == "in" else self.layout.held_out) & last
            return self._test(self.features["pools"], self._gold("pools"), np.flatnonzero(asked).reshape(-1, 2), seed)
        if split != "counts":
            raise UnknownNameError(f"no test split '{split}'. There are: in, topics, counts.")
        far = self.responses["proposals"]
        most = self.responses["pairs"].counts.max(axis=0)
        beyond = np.flatnonzero((far.counts > most).any(axis=1) & np.isin(far.topic, self.layout.training))
        # The partner is a text of π_ref under the same prompt; the pools begin with every topic's last wording.
        size = self.layout.pool
        partner = far.topic[beyond] * size + np.arange(len(beyond)) % size
        offset = len(far)
        features = joined([self.features["proposals"], self.features["pools"]])
        gold = np.concatenate([self._gold("proposals"), self._gold("pools")])
        return self._test(features, gold, np.stack([beyond, partner + offset], axis=1), seed)

    def pools(self, topics: Sequence[int] | IntArray | None = None) -> Candidates:
        """Return the pools of π_ref, 128 responses a prompt, with gold; of the given topics, or of all."""
        written = self.responses["pools"]
        size = self.layout.pool
        offsets = np.arange(0, len(written) + 1, size)
        out = Candidates(self.features["pools"], offsets, gold=self._gold("pools"))
        return out if topics is None else out.take(np.isin(written.topic[::size], topics))

    def proposals(self) -> Candidates:
        """Return the stratified pools, one prompt for each of `layout.proposal_topics`, with gold."""
        rows, offsets = self.proposal_rows
        features = joined([self.features["pools"], self.features["proposals"]]).take(rows)
        gold = np.concatenate([self._gold("pools"), self._gold("proposals")])[rows]
        return Candidates(features, offsets, gold=gold)

    def proposal_texts(self) -> list[str]:
        """Return the responses of the rows of `proposals()`."""
        texts = self.responses["pools"].texts + self.responses["proposals"].texts
        return [texts[row] for row in self.proposal_rows[0]]

    def proposal_pool(self, proxy: Array) -> ProposalPool:
        """Return the stratified pools with the scores `(m,)` of the rows of `proposals()`, ready for `path()`."""
        rows, offsets = self.proposal_rows
        counts = np.concatenate([self.responses["pools"].counts, self.responses["proposals"].counts])[rows]
        if np.shape(proxy) != (len(rows),):
            raise DataError(f"proxy must have shape ({len(rows)},) for the rows of proposals(), got {np.shape(proxy)}")
        shape = (len(offsets) - 1, -1)
        return ProposalPool(
            GrammarPolicy.from_probabilities(self.world.reference),
            self.layout.proposal,
            counts.reshape(*shape, counts.shape[1]),
            np.asarray(proxy, dtype=np.float64).reshape(shape),
            self.world.gold(counts).reshape(shape),
        )

    @cached_property
    def proposal_rows(self) -> tuple[IntArray, IntArray]:
        """Rows of pools and proposals, one after the other, that make up the stratified pools; and their offsets."""
        size, *more = self.layout.proposal.sizes
        extra = sum(more)
        topics = self.layout.proposal_topics
        start = len(self.responses["pools"])
        parts = [
            np.concatenate([t * size + np.arange(size), start + i * extra + np.arange(extra)])
            for i, t in enumerate(topics)
        ]
        return np.concatenate(parts), np.arange(len(topics) + 1) * (size + extra)

    @property
    def _provenance(self) -> Provenance:
        return provenance_of(Embedder.of({"name": self.embedder, "options": EMBEDDERS[self.embedder]}))

    def _gold(self, split: str) -> Array:
        return self.world.gold(self.responses[split].counts)

    @property
    def topics_of_prompts(self) -> IntArray:
        """Return the topic of each prompt by its number, of which every wording of every topic has one."""
        wordings = max(len(topic.questions) for topic in self.world.spec.topics)
        return np.repeat(np.arange(len(self.world.topics)), wordings)

    def _prompt(self, written: Responses) -> IntArray:
        wordings = max(len(topic.questions) for topic in self.world.spec.topics)
        return written.topic * wordings + written.question

    @staticmethod
    def _test(features: Features, gold: Array, rows: IntArray, seed: int) -> Pairs:
        first = prefer(gold[rows[:, 0]], gold[rows[:, 1]], seed=seed)
        ordered = np.where(first[:, None], rows, rows[:, ::-1])
        return Pairs(features, ordered[:, 0], ordered[:, 1])


def joined(parts: Sequence[Features]) -> Features:
    """Return the rows of several features with the same views, one after the other."""
    made = parts[0].embedder
    clusters = [part.cluster for part in parts if part.cluster is not None]
    return Features(
        {name: np.concatenate([part.views[name] for part in parts]) for name in parts[0].views},
        prompt=np.concatenate([part.prompt for part in parts]),
        length=np.concatenate([part.length for part in parts if part.length is not None]),
        embedder=made if all(part.embedder == made for part in parts) else UNKNOWN,
        cluster=np.concatenate(clusters) if len(clusters) == len(parts) else None,
    )
