"""A fitted reward by evidence: scores, draws, and the comparisons that they rest on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import Array, BoolArray
from embrm.core.data import Features, Pairs
from embrm.core.results import Kind
from embrm.errors import DataError, OptionError
from embrm.heads._comparisons import Comparisons, Kernel, Votes, standardised
from embrm.heads._explain import Explanation, explain
from embrm.heads._head import FittedHead

COMPARISONS = ("chosen", "rejected", "weight", "sign", "pair")  # arrays of a saved model, beside the texts


@dataclass(frozen=True)
class Vote:
    """What one comparison says of a text.

    Attributes:
        pair: its number among the training pairs.
        relevance: inside [0, 1]; 1 where the text is one of its two.
        weight: its share in the reward; those of all that vote and of the prior sum to 1.
        vote: +1 if the text is as the preferred text of the two, −1 if as the other.
    """

    pair: int
    relevance: float
    weight: float
    vote: float


@dataclass(frozen=True)
class Evidence:
    """What a reward rests on.

    Attributes:
        abstains: whether no comparison is relevant enough, so that the reward says nothing.
        votes: of the comparisons that weigh most, the heaviest |weight · vote| first.
    """

    abstains: bool
    votes: tuple[Vote, ...]


@dataclass(frozen=True, eq=False)
class FittedRetrieval(FittedHead):
    """Comparisons that vote.

    Attributes:
        mean, scale: `(d,)` of the training texts.
        comparisons: those of all training pairs.
        kernel: their relevance.
        level: slope s; mean and standard deviation of Σ share · vote over training texts.
        resample: `(draws / 2, c)` weights of the Bayesian bootstrap.
        waves, phase: `(d, draws / 2)` and `(draws / 2,)` of the random functions cos(x·wave + phase).
    """

    mean: Array
    scale: Array
    comparisons: Comparisons
    kernel: Kernel
    level: Array
    resample: Array
    waves: Array
    phase: Array

    @property
    def kind(self) -> Kind:
        """Posterior draws."""
        return "posterior"

    def abstains(self, features: Features | npt.ArrayLike) -> BoolArray:
        """Return of which texts the head says nothing, `(n,)`."""
        return np.concatenate([votes.abstains for _, votes in self._voting(self._matrix(features)[:])])

    def evidence(self, features: Features | npt.ArrayLike, *, most: int = 5) -> list[Evidence]:
        """Return the comparisons that each text's reward rests on.

        Raises:
            OptionError: `most` is below 1.
        """
        if most < 1:
            raise OptionError(f"most must be >= 1, got {most}")
        out = []
        for _, votes in self._voting(self._matrix(features)[:]):
            order = np.argsort(-np.abs(votes.share * votes.vote), axis=1, kind="stable")[:, :most]
            for i, best in enumerate(order):
                numbers = (self.comparisons.pair, votes.relevance[i], votes.share[i], votes.vote[i])
                rows = zip(*(a[best].tolist() for a in numbers), strict=True)
                out.append(Evidence(bool(votes.abstains[i]), tuple(Vote(*row) for row in rows)))
        return out

    def explain(self, pairs: Pairs, *, training: Pairs, neighbours: int = 5) -> list[Explanation]:
        """Return margin, spread and the training pairs that make the margin; see `FittedHead.explain`.

        A neighbour's `share` is what it adds to the margin; those of all training pairs sum to it where the head
        abstains on neither text.

        Raises:
            DataError: `training` are not the pairs that the model was trained on.
            OptionError: `neighbours` is below 1.
        """
        if len(training) != self.record["pairs"]:
            raise DataError(
                f"the model was trained on {self.record['pairs']} pairs, got {len(training)}; give the same ones"
            )
        used = pairs.compact()
        share = np.zeros((len(used.features), len(training)))
        silent = self.abstains(used.features)
        for part, votes in self._voting(self._matrix(used.features)[:]):
            share[part, self.comparisons.pair] = self.level[0] * votes.share * votes.vote
        share[silent] = 0
        return explain(
            self,
            pairs,
            training=training,
            neighbours=neighbours,
            view=self.head.view,
            shares=share[used.chosen] - share[used.rejected],
            silent=np.stack([silent[used.chosen], silent[used.rejected]], axis=1),
        )

    def _voting(self, x: Array) -> Iterator[tuple[slice, Votes]]:
        for part in self.comparisons.parts(len(x)):
            yield part, self.kernel.votes(self.comparisons, standardised(x[part], self.mean, self.scale))

    def _draws(self, x: Array) -> Array:
        slope, centre, spread = self.level
        out = np.empty((self.members, len(x)))
        weight = (self.resample * self.comparisons.weight).astype(np.float32).T
        for part, votes in self._voting(x):
            wave = np.cos(standardised(x[part], self.mean, self.scale) @ self.waves + self.phase)
            wave *= spread / np.sqrt(np.mean(wave**2, axis=1, keepdims=True))
            most = self.kernel.prior
            total, drawn = votes.relevance @ weight + most, (votes.relevance * votes.vote) @ weight
            draws = np.concatenate([(drawn + most * wave) / total, (drawn - most * wave) / total], axis=1)
            draws += (votes.sums - centre - draws.mean(axis=1))[:, None]
            draws[votes.abstains] = np.concatenate([wave, -wave], axis=1)[votes.abstains]
            out[:, part] = slope * draws.T
        return out

    def _latent(self, x: Array, member: int) -> Array:
        return np.asarray(self._draws(x)[member][:, None])

    def arrays(self) -> dict[str, Array]:
        """Return the comparisons, and what the draws are made of."""
        own = ("mean", "scale", "level", "resample", "waves", "phase")
        inner = {name: getattr(self.comparisons, name) for name in ("texts", *COMPARISONS)}
        return inner | {name: getattr(self, name) for name in own}
