"""What goes into the families: features, pairs, candidates. Frozen, checked when made, nothing but numpy inside."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from embrm.core import arrays
from embrm.core.arrays import Array, BoolArray, IntArray, Matrix, NameArray, as_rows, as_vector, check_offsets
from embrm.core.provenance import UNKNOWN, Provenance
from embrm.core.seen import TextHashes
from embrm.core.views import made
from embrm.errors import DataError, OptionError

__all__ = ["Array", "BoolArray", "Candidates", "Features", "IntArray", "Pairs", "Problem", "Provenance"]


@dataclass(frozen=True, eq=False)
class Features:
    """Vectors of `m` texts under one or more views, and the prompt that each row belongs to.

    Attributes:
        views: name → matrix `(m, d_v)` float32; `"joint"` is the embedding of prompt and response together. One that
            `numpy.load(…, mmap_mode="r")` gave stays in its file, whatever floats are there: see `rows`. There may be
            no view where the lengths are given.
        prompt: `(m,)` integers; rows of one prompt are never split between training and validation.
        length: `(m,)` characters of the response, for the length controls, or None.
        embedder: what made the vectors; a fitted head keeps it, embeds texts with it, and refuses vectors of another.
        cluster: `(m,)` integers: which prompts are not independent of each other, such as those of one topic, source or
            conversation; all rows of a prompt have one. None where each prompt is its own.
        hashes: of the texts, by which a model knows those that it was trained on; None where they are not known.
    """

    views: Mapping[str, Matrix]
    prompt: IntArray
    length: Array | None = None
    embedder: Provenance = UNKNOWN
    cluster: IntArray | None = None
    hashes: TextHashes | None = None

    def __post_init__(self) -> None:
        if not self.views and self.length is None:
            raise DataError("features need at least one view, got none; pass {'joint': x} with x (m, d)")
        views = {name: as_rows(x, name=f"view '{name}'") for name, x in self.views.items()}
        sizes = {name: len(x) for name, x in views.items()}
        m = next(iter(sizes.values()), np.size(self.prompt))
        if len(set(sizes.values())) > 1:
            raise DataError(f"all views must have the same number of rows, got {sizes}")
        object.__setattr__(self, "views", views)
        object.__setattr__(self, "prompt", as_vector(self.prompt, "prompt", m, np.int64))
        object.__setattr__(self, "embedder", Provenance.of(self.embedder))
        if self.length is not None:
            object.__setattr__(self, "length", as_vector(self.length, "length", m, np.float64))
        if self.cluster is not None:
            object.__setattr__(self, "cluster", as_vector(self.cluster, "cluster", m, np.int64))
        if self.hashes is not None and len(self.hashes) != m:
            raise DataError(f"hashes must be of all {m} rows, got those of {len(self.hashes)} texts")

    def __len__(self) -> int:
        return len(self.prompt)

    @classmethod
    def of(cls, x: Features | npt.ArrayLike) -> Features:
        """Return `x` itself, or a bare array `(m, d)` as the view "joint" with every row a prompt of its own."""
        if isinstance(x, Features):
            return x
        matrix = as_rows(x)
        return cls({"joint": matrix}, prompt=np.arange(len(matrix)))

    def matrix(self, view: str) -> Array:
        """Return one view `(m, d)` in memory.

        Raises:
            DataError: see `rows`.
            OptionError: see `rows`.
        """
        return np.asarray(self.rows(view))

    def rows(self, view: str) -> Matrix:
        """Return one view `(m, d)` to take rows of: those of a matrix in a file are only then read.

        It may be several side by side, in memory: "joint+response+length", in that order. "length" is one column,
        log(1 + characters) of the response. The columns stay in units of their own: heads bring every column to unit
        variance over their training texts.

        Raises:
            DataError: there is no such view (the message lists those that there are), or no lengths.
            OptionError: a part of the view has no name, or stands there twice.
        """
        if view in self.views:
            return self.views[view]
        return made(view, self.views, length=self.length, matrix=self.matrix)

    def take(self, rows: npt.ArrayLike) -> Features:
        """Return the given rows (indices `(r,)` or a mask `(m,)`) as new features (a copy)."""
        rows = np.asarray(rows)
        return Features(
            {name: x[rows] for name, x in self.views.items()},
            prompt=self.prompt[rows],
            length=None if self.length is None else self.length[rows],
            embedder=self.embedder,
            cluster=None if self.cluster is None else self.cluster[rows],
            hashes=None if self.hashes is None else self.hashes.take(rows),
        )


@dataclass(frozen=True, eq=False)
class Pairs:
    """Preference pairs as indices into shared features: no vector is stored twice.

    Attributes:
        features: the texts, `m` rows.
        chosen, rejected: `(n,)` rows of `features`; both texts of a pair answer the same prompt.
        weight: `(n,)` non-negative weights of the pairs' losses, or None for 1.
        margin: `(n,)` by how much the chosen reward should exceed the rejected one, or None for 0.
        tie: `(n,)` True where neither text is preferred, or None.
        annotator: `(n,)` who judged each pair, "" where that is not known, or None.
    """

    features: Features
    chosen: IntArray
    rejected: IntArray
    weight: Array | None = None
    margin: Array | None = None
    tie: BoolArray | None = None
    annotator: NameArray | None = None

    def __post_init__(self) -> None:
        n = np.asarray(self.chosen).size
        if n == 0:
            raise DataError("there are no pairs; at least one is needed")
        m = len(self.features)
        for name in ("chosen", "rejected"):
            index = as_vector(getattr(self, name), name, n, np.int64)
            if index.min() < 0 or index.max() >= m:
                raise DataError(f"{name} must index the {m} rows of features, got {index.min()}..{index.max()}")
            object.__setattr__(self, name, index)
        same = np.flatnonzero(self.chosen == self.rejected)
        if same.size:
            raise DataError(f"{same.size} pairs have chosen equal to rejected, first pair {same[0]}; remove them")
        across = np.flatnonzero(self.features.prompt[self.chosen] != self.features.prompt[self.rejected])
        if across.size:
            raise DataError(f"{across.size} pairs compare texts of different prompts, first pair {across[0]}")
        if self.weight is not None:
            weight = as_vector(self.weight, "weight", n, np.float64)
            if weight.min() < 0 or weight.sum() <= 0:
                raise DataError("weights must be >= 0 with a positive sum; use weight 0 to leave a pair out")
            object.__setattr__(self, "weight", weight)
        if self.margin is not None:
            object.__setattr__(self, "margin", as_vector(self.margin, "margin", n, np.float64))
        if self.tie is not None:
            object.__setattr__(self, "tie", as_vector(self.tie, "tie", n, np.bool_))
        if self.annotator is not None:
            object.__setattr__(self, "annotator", arrays.as_names(self.annotator, "annotator", n))

    def __len__(self) -> int:
        return len(self.chosen)

    @property
    def prompt(self) -> IntArray:
        """Prompt of each pair, `(n,)`."""
        return self.features.prompt[self.chosen]

    @classmethod
    def from_arrays(
        cls,
        x: npt.ArrayLike,
        *,
        chosen: npt.ArrayLike,
        rejected: npt.ArrayLike,
        prompt: npt.ArrayLike | None = None,
        weight: npt.ArrayLike | None = None,
        margin: npt.ArrayLike | None = None,
        tie: npt.ArrayLike | None = None,
        annotator: npt.ArrayLike | None = None,
    ) -> Pairs:
        """Make pairs from your own vectors.

        Args:
            x: `(m, d)` vectors of the texts.
            chosen: `(n,)` rows of `x`.
            rejected: `(n,)` rows of `x`.
            prompt: `(m,)` integers. Without it, rows that pairs connect count as one prompt.
            weight: `(n,)`, see the class.
            margin: `(n,)`, see the class.
            tie: `(n,)`, see the class.
            annotator: `(n,)`, see the class.
        """
        matrix = as_rows(x)
        w, l = np.atleast_1d(np.asarray(chosen)), np.atleast_1d(np.asarray(rejected))  # noqa: E741
        if prompt is None:
            prompt = arrays.components(len(matrix), w, l)
        features = Features({"joint": matrix}, prompt=np.asarray(prompt))
        extra = {"weight": weight, "margin": margin, "tie": tie, "annotator": annotator}
        return cls(features, w, l, **{k: np.asarray(v) for k, v in extra.items() if v is not None})

    def take(self, index: npt.ArrayLike) -> Pairs:
        """Return the given pairs (indices or a mask `(n,)`), sharing the features."""
        i = np.asarray(index)
        columns = ("chosen", "rejected", "weight", "margin", "tie", "annotator")
        return replace(self, **{c: x[i] for c in columns if (x := getattr(self, c)) is not None})

    @property
    def rows(self) -> IntArray:
        """The distinct rows of the features that the pairs use, sorted."""
        return np.unique(np.concatenate([self.chosen, self.rejected]))

    def compact(self) -> Pairs:
        """Return the pairs over the texts that they use alone (a copy of these), in the order of their rows."""
        rows, place = np.unique(np.concatenate([self.chosen, self.rejected]), return_inverse=True)
        chosen, rejected = place.reshape(2, -1)
        return replace(self, features=self.features.take(rows), chosen=chosen, rejected=rejected)

    def split(self, fraction: float, *, seed: int) -> tuple[Pairs, Pairs]:
        """Split by prompt into (the rest, about `fraction` of the pairs); no prompt or cluster stands on both sides.

        Raises:
            DataError: the pairs have a single prompt, so no split by prompt exists.
            OptionError: `fraction` is not inside (0, 1).
        """
        if not 0 < fraction < 1:
            raise OptionError(f"fraction must be inside (0, 1), got {fraction}")
        apart = self.prompt if self.features.cluster is None else self.features.cluster[self.chosen]
        prompts, inverse, counts = np.unique(apart, return_inverse=True, return_counts=True)
        if len(prompts) < 2:
            what = "prompt" if self.features.cluster is None else "cluster of prompts"
            raise DataError(f"all pairs belong to one {what}, so they cannot be split by {what}; add pairs of others")
        order = np.random.default_rng(seed).permutation(len(prompts))
        # As many prompts as bring the share of pairs nearest to the fraction, and at least one on each side.
        share = np.cumsum(counts[order]) / len(self)
        take = min(int(np.abs(share - fraction).argmin()) + 1, len(prompts) - 1)
        held = np.zeros(len(prompts), dtype=bool)
        held[order[:take]] = True
        return self.take(~held[inverse]), self.take(held[inverse])


@dataclass(frozen=True, eq=False)
class Candidates:
    """Pools of candidate responses, ragged: prompt `i` owns rows `offsets[i]:offsets[i + 1]` of `features`.

    Attributes:
        features: `m` rows.
        offsets: `(prompts + 1,)` non-decreasing integers from 0 to `m`; every pool has at least one row.
        gold: `(m,)` gold rewards, or None.
        policy: `m` names of what wrote each row, or None.
    """

    features: Features
    offsets: IntArray
    gold: Array | None = None
    policy: Sequence[str] | None = None

    def __post_init__(self) -> None:
        m = len(self.features)
        object.__setattr__(self, "offsets", check_offsets(self.offsets, m))
        if self.gold is not None:
            object.__setattr__(self, "gold", as_vector(self.gold, "gold", m, np.float64))
        if self.policy is not None and len(self.policy) != m:
            raise DataError(f"policy must name all {m} rows, got {len(self.policy)} names")

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def pool(self) -> IntArray:
        """Which pool each row belongs to, `(m,)`."""
        return np.repeat(np.arange(len(self)), np.diff(self.offsets))

    def take(self, pools: npt.ArrayLike) -> Candidates:
        """Return the given pools (indices or a mask), in that order."""
        index = np.arange(len(self))[np.asarray(pools)]
        sizes = np.diff(self.offsets)[index]
        rows = np.concatenate([np.arange(self.offsets[i], self.offsets[i + 1]) for i in index])
        return Candidates(
            self.features.take(rows),
            np.concatenate([[0], np.cumsum(sizes)]),
            gold=None if self.gold is None else self.gold[rows],
            policy=None if self.policy is None else [self.policy[r] for r in rows],
        )


@dataclass(frozen=True, eq=False)
class Problem:
    """One fit: pairs, a seed, and what a head may use beside them.

    Attributes:
        pairs: the training pairs.
        seed: determines initialisation, order and splits.
        validation: pairs of other prompts for early stopping and tuning; None lets the head hold some prompts out.
        pools: unlabelled candidate pools, for heads trained against their own best-of-n.
    """

    pairs: Pairs
    seed: int
    validation: Pairs | None = None
    pools: Candidates | None = None
