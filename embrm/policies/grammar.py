"""The simulated world's policy: a factorised categorical over the attributes of a response, exact throughout."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

from embrm.core.arrays import Array, IntArray
from embrm.errors import DataError


@dataclass(frozen=True, eq=False)
class GrammarPolicy:
    """A policy that draws each attribute's count on its own, conditional on nothing.

    Attributes:
        logits: for each of the `a` attributes, the logits `(k,)` of the counts 0, 1, …, k − 1.
    """

    logits: tuple[Array, ...]

    def __post_init__(self) -> None:
        logits = tuple(np.asarray(x, dtype=np.float64) for x in self.logits)
        for i, x in enumerate(logits):
            if x.ndim != 1 or len(x) == 0 or not np.isfinite(x).all():
                raise DataError(f"logits of attribute {i} must be finite and 1-D (k,), got {x}; use log-probabilities")
        object.__setattr__(self, "logits", logits)

    @classmethod
    def from_probabilities(cls, probabilities: Sequence[npt.ArrayLike]) -> GrammarPolicy:
        """Make the policy that has the given positive probabilities, one array `(k,)` for each attribute."""
        with np.errstate(divide="ignore", invalid="ignore"):
            return cls(tuple(np.log(np.asarray(p, dtype=np.float64)) for p in probabilities))

    @classmethod
    def from_flat(cls, flat: Array, *, like: GrammarPolicy) -> GrammarPolicy:
        """Make a policy of one vector of all logits `(p,)`, cut into the attributes of `like`."""
        return cls(tuple(np.split(flat, np.cumsum([len(x) for x in like.logits])[:-1])))

    @cached_property
    def flat(self) -> Array:
        """All logits as one vector `(p,)`."""
        return np.concatenate(self.logits)

    @cached_property
    def log_probabilities(self) -> tuple[Array, ...]:
        """Log-probabilities `(k,)` of each attribute's counts."""
        return tuple(np.asarray(log_softmax(x)) for x in self.logits)

    @cached_property
    def probabilities(self) -> tuple[Array, ...]:
        """Probabilities `(k,)` of each attribute's counts."""
        return tuple(np.exp(x) for x in self.log_probabilities)

    @property
    def means(self) -> Array:
        """Expected count of each attribute, `(a,)`."""
        return np.array([p @ np.arange(len(p)) for p in self.probabilities])

    def sample(self, n: int, *, rng: np.random.Generator) -> IntArray:
        """Draw counts `(n, a)`."""
        return np.stack([rng.choice(len(p), size=n, p=p) for p in self.probabilities], axis=1)

    def log_probability(self, counts: npt.ArrayLike) -> Array:
        """Return the exact log-probability `(n,)` of counts `(n, a)`."""
        columns = np.asarray(counts).T
        return np.asarray(sum(x[c] for x, c in zip(self.log_probabilities, columns, strict=True)))

    def entropy(self) -> float:
        """Return the exact entropy, in nats."""
        return float(-sum(p @ x for p, x in zip(self.probabilities, self.log_probabilities, strict=True)))

    def kl(self, other: GrammarPolicy) -> float:
        """Return the exact KL(self‖other), in nats."""
        terms = zip(self.probabilities, self.log_probabilities, other.log_probabilities, strict=True)
        return float(sum(p @ (x - y) for p, x, y in terms))

    def kl_gradient(self, other: GrammarPolicy) -> Array:
        """Return the gradient `(p,)` of KL(self‖other) by the logits: p·(log p/q − KL) for each attribute."""
        terms = zip(self.probabilities, self.log_probabilities, other.log_probabilities, strict=True)
        return np.concatenate([p * ((x - y) - p @ (x - y)) for p, x, y in terms])

    def score(self, counts: npt.ArrayLike) -> Array:
        """Return ∂ log π(counts)/∂ logits, `(n, p)`: one-hot minus probability."""
        columns = np.asarray(counts).T
        return np.concatenate([np.eye(len(p))[c] - p for p, c in zip(self.probabilities, columns, strict=True)], axis=1)

    def tilted(self, values: Sequence[npt.ArrayLike], *, beta: float) -> GrammarPolicy:
        """Return π·exp(r/β)/Z for a reward r that is a sum over attributes of `values[i][count]`: the closed form."""
        pairs = zip(self.log_probabilities, values, strict=True)
        return GrammarPolicy(tuple(x + np.asarray(v, dtype=np.float64) / beta for x, v in pairs))


def reinforce_gradient(policy: GrammarPolicy, counts: npt.ArrayLike, reward: Array) -> Array:
    """Return the ascent direction `(p,)` of E[r], with the mean reward of the *other* texts as unbiased baseline."""
    n = len(reward)
    advantage = (reward - reward.mean()) * n / (n - 1)
    return np.asarray(advantage @ policy.score(counts) / n)


def ppo_gradient(policy: GrammarPolicy, counts: npt.ArrayLike, advantage: Array, *, old: Array, clip: float) -> Array:
    """Return the gradient `(p,)` of mean(min(ρA, clip(ρ, 1 ± clip)·A)), ρ = π/π_old (Schulman 1707.06347, eq. 7).

    Args:
        policy: the policy being updated.
        counts: `(n, a)` what was drawn.
        advantage: `(n,)`.
        old: `(n,)` log-probabilities under the policy that drew them.
        clip: how far the ratio may move before a text stops pushing.
    """
    ratio = np.exp(policy.log_probability(counts) - old)
    moves = np.where(advantage > 0, ratio < 1 + clip, ratio > 1 - clip)
    return np.asarray((advantage * ratio * moves) @ policy.score(counts) / len(advantage))
