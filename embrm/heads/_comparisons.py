"""Labelled comparisons that vote on texts: how near each is, and on which side of it a text lies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from embrm.core.arrays import Array, BoolArray, IntArray
from embrm.core.data import Pairs
from embrm.heads.gradient.split import targets

BYTES = 32 << 20  # of distances that are in memory at once


@dataclass(frozen=True, eq=False)
class Comparisons:
    """Labelled comparisons, with features in units of their spread.

    Attributes:
        texts: `(m, d)` float32, each once.
        chosen, rejected: `(c,)` rows of `texts`.
        weight: `(c,)` > 0; that of a tie is there too.
        sign: `(c,)` 1, or 0 for a tie, which votes for neither text.
        pair: `(c,)` numbers among the pairs that they come from.
    """

    texts: Array
    chosen: IntArray
    rejected: IntArray
    weight: Array
    sign: Array
    pair: IntArray

    @classmethod
    def of(cls, pairs: Pairs, *, view: str, mean: Array, scale: Array) -> Comparisons:
        """Take the pairs of weight above 0."""
        weight, target, _ = targets(pairs)
        number = np.flatnonzero(weight > 0)
        used = pairs.take(number)
        rows, place = np.unique(np.concatenate([used.chosen, used.rejected]), return_inverse=True)
        chosen, rejected = place.reshape(2, -1)
        return cls(
            standardised(pairs.features.rows(view)[rows], mean, scale),
            chosen,
            rejected,
            weight[number],
            2 * target[number] - 1,
            number,
        )

    def __len__(self) -> int:
        return len(self.chosen)

    @cached_property
    def lengths(self) -> Array:
        """Squared distance between the two texts of each comparison, `(c,)`."""
        gap = self.texts[self.chosen] - self.texts[self.rejected]
        return np.asarray(np.einsum("cd,cd->c", gap, gap))

    def parts(self, count: int) -> Iterator[slice]:
        """Yield slices of so many texts, few enough to be compared with everything at once."""
        size = max(1, BYTES // (4 * (len(self.texts) + 6 * len(self))))
        return (slice(start, min(start + size, count)) for start in range(0, count, size))

    def look(self, x: Array) -> tuple[Array, Array]:
        """Return how far texts `x (n, d)` are from each comparison, and its vote, both `(n, c)`.

        The distance, squared, is to the nearer one of its two texts. The vote is +1 where the text is the preferred
        one, −1 where it is the other, and else by its projection on the line from one to the other, cut off at ±1.
        """
        t = self.texts
        square = np.einsum("md,md->m", t, t) - 2 * (x @ t.T) + np.einsum("nd,nd->n", x, x)[:, None]
        won, lost = (np.take(square, rows, axis=1) for rows in (self.chosen, self.rejected))
        vote, length = np.zeros_like(won), self.lengths
        np.divide(lost - won, length, out=vote, where=length > 0)  # 2 (x − middle)·(chosen − rejected) / length
        vote = np.clip(vote, -1, 1, out=vote) * self.sign
        return np.maximum(np.minimum(won, lost), 0), vote


@dataclass(frozen=True)
class Kernel:
    """How relevant comparisons are, and when none is relevant enough.

    Attributes:
        width: h of exp(−d²/2h²).
        threshold: what the most relevant one must reach.
        count: how many of the nearest vote.
        prior: κ, in comparisons of relevance 1 that vote for neither side.
    """

    width: float
    threshold: float
    count: int
    prior: float

    def votes(self, comparisons: Comparisons, x: Array) -> Votes:
        """Let the nearest comparisons vote on texts `x (n, d)`."""
        return self.weighed(*comparisons.look(x), comparisons.weight)

    def weighed(self, square: Array, vote: Array, weight: Array) -> Votes:
        """Weigh votes `(n, c)` by their squared distances, and by the weights `(c,)` of the comparisons."""
        relevance = np.exp(square / (-2 * self.width**2)) * within(square, self.count)
        weighed = relevance * weight
        share = weighed / (self.prior + weighed.sum(axis=1, keepdims=True))
        return Votes(relevance, share, vote, relevance.max(axis=1) < self.threshold)

    def sums(self, comparisons: Comparisons, x: Array) -> Array:
        """Return Σ share · vote of texts `x (n, d)`, `(n,)`."""
        found = (self.votes(comparisons, x[part]) for part in comparisons.parts(len(x)))
        return np.concatenate([votes.sums for votes in found])


@dataclass(frozen=True, eq=False)
class Votes:
    """What comparisons say of texts; arrays are `(n, c)`.

    Attributes:
        relevance: inside [0, 1]; 0 for those that do not vote.
        share: relevance times weight, over the sum of these and the prior.
        vote: inside [−1, 1].
        abstains: `(n,)` whether none is relevant enough.
    """

    relevance: Array
    share: Array
    vote: Array
    abstains: BoolArray

    @property
    def sums(self) -> Array:
        """Σ share · vote, `(n,)`."""
        return np.asarray(np.einsum("nc,nc->n", self.share, self.vote))


def standardised(x: Array, mean: Array, scale: Array) -> Array:
    """Return `x (n, d)` with mean 0 and unit variance over the training texts, in float32."""
    return ((x - mean) / scale).astype(np.float32)


def within(square: Array, count: int) -> Array:
    """Return where the `count` smallest of each row `(n, c)` are; equal ones at the edge are all in."""
    if count >= square.shape[1]:
        return np.ones(square.shape, dtype=bool)
    return np.asarray(square <= np.partition(square, count - 1, axis=1)[:, count - 1 : count])
