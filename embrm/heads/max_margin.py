"""Apprenticeship learning: the linear reward by which demonstrations beat every other policy most."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from embrm.core.arrays import Array, IntArray, Matrix
from embrm.core.data import Pairs, Problem
from embrm.core.processes import spread
from embrm.core.progress import tracked
from embrm.core.registry import register
from embrm.core.results import State
from embrm.errors import OptionError
from embrm.heads import _newton
from embrm.heads._head import FittedHead, Head
from embrm.heads.gradient.split import hold_out, moments, targets
from embrm.heads.linear import FittedLinear


@register
@dataclass(frozen=True, kw_only=True)
class MaxMargin(Head):
    """The linear reward by which the chosen texts' policy beats all others most (Abbeel & Ng 2004, projection).

    The chosen texts are demonstrations, all texts of a prompt its pool. In turn the policy that takes the best text of
    each pool by the reward is added to the known ones, and the reward becomes what separates the demonstrations' mean
    features from the nearest mixture of those. A margin says nothing of the reward's size, and its direction is lost
    where a mixture comes close: the size is that of most likelihood on held-out pairs, and the most likely of these
    rewards is kept. Joselowitz et al. (2410.12491) infer what language models were tuned for so; the fine-tuning of
    whole models that they do in between is left out, as here the policies choose among given texts.

    Attributes:
        members: restarts: the first from the policy that gave the rejected texts, each other from that of a random
            reward.
        iterations: the most policies to add.
        tolerance: the margin, in standard deviations of the features, at which it stops.
        validation_fraction: share of the pairs, by prompt, held out to choose among the rewards.
    """

    members: int = 1
    iterations: int = 30
    tolerance: float = 1e-3
    validation_fraction: float = 0.15

    def __post_init__(self) -> None:
        if min(self.members, self.iterations) < 1:
            raise OptionError(f"members and iterations must be >= 1, got {self.members} and {self.iterations}")
        if not self.tolerance > 0:
            raise OptionError(f"tolerance must be > 0, got {self.tolerance}")

    def fit_many(self, problems: Sequence[Problem]) -> list[FittedHead]:
        """Fit the problems one by one."""
        return spread(self._fit, problems, names=[f"max_margin, seed {problem.seed}" for problem in problems])

    def _fit(self, problem: Problem) -> FittedLinear:
        train, held = hold_out(problem, fraction=self.validation_fraction, view=self.view)
        x = train.features.rows(self.view)
        mean, scale = moments(x, problem.pairs.rows)
        shown = Demonstrations.of(x, train, scale=scale)
        judge = _newton.Data.of(x, train, scale=scale)
        if held is not None:
            judge = _newton.Data.of(held.features.rows(self.view), held, scale=scale)
        theta, record = [], []
        for k in tracked(range(self.members), "members"):
            tried = [
                (_newton.fit(judge.along(way[:, None]), precision=1.0), way, margin)
                for way, margin in self.rewards(shown, self._start(shown, problem.seed, k))
            ]
            sized, way, margin = min(tried, key=lambda each: each[0].loss)
            theta.append(max(float(sized.theta[0]), 0.0) * way)
            record.append({"policies": len(tried), "margin": margin, "nll": sized.loss / len(judge.weight)})
        coefficients = np.stack(theta) / scale
        return FittedLinear(
            head=self,
            width=x.shape[1],
            embedder=problem.pairs.features.embedder,
            reference=coefficients @ mean,
            record={"pairs": len(train), "restarts": record},
            coefficients=coefficients,
        )

    def _start(self, shown: Demonstrations, seed: int, member: int) -> Array:
        """Return the mean features of the policy to start from."""
        if member == 0:
            return shown.rejected
        return shown.best(np.asarray(np.random.default_rng([seed, member]).normal(size=shown.x.shape[1])))

    def rewards(self, shown: Demonstrations, nearest: Array) -> list[tuple[Array, float]]:
        """Return the rewards of all steps, of unit variance over the texts, and their margins; at least one."""
        out: list[tuple[Array, float]] = []
        for _ in range(self.iterations):
            reward = shown.chosen - nearest
            margin = float(np.linalg.norm(reward))
            out.append((reward / (float((shown.x @ reward).std()) or 1.0), margin))
            step = shown.best(reward) - nearest
            size = float(step @ step)
            if margin <= self.tolerance or size == 0:
                break
            nearest = nearest + np.clip(step @ reward / size, 0, 1) * step
        return out

    def space(self) -> dict[str, tuple[Any, ...]]:
        """Return numbers of policies."""
        return {"iterations": (1, 3, 10, 30)}

    def restore(self, state: State) -> FittedHead:
        """Rebuild a fitted model from its state."""
        return FittedLinear.of_state(self, state, members=self.members)


class Demonstrations(NamedTuple):
    """Pools of scaled features `x (m, d)`, prompt by prompt, and mean features `(d,)` of chosen and rejected texts."""

    x: Array
    starts: IntArray
    pool: IntArray
    chosen: Array
    rejected: Array

    @classmethod
    def of(cls, x: Matrix, pairs: Pairs, *, scale: Array) -> Demonstrations:
        """Gather the texts of the pairs; each prompt counts alike, its texts by the weights of their pairs."""
        rows = pairs.rows[np.argsort(pairs.features.prompt[pairs.rows], kind="stable")]
        pool = np.unique(pairs.features.prompt[rows], return_inverse=True)[1]
        starts = np.flatnonzero(np.diff(pool, prepend=-1))
        weight, target, _ = targets(pairs)
        scaled = np.asarray(x[rows] / scale)
        means = []
        for side in (pairs.chosen, pairs.rejected):
            share = np.bincount(side, weights=weight * (target == 1), minlength=len(pairs.features))[rows]
            of_pool = np.add.reduceat(share, starts)
            of_row = share / np.where(of_pool > 0, of_pool, 1)[pool] / max(int((of_pool > 0).sum()), 1)
            means.append(np.asarray(of_row @ scaled))
        return cls(scaled, starts, pool, *means)

    def best(self, reward: Array) -> Array:
        """Return the mean features `(d,)` of the policy that takes the best text of each pool."""
        value = self.x @ reward
        top = np.flatnonzero(value == np.maximum.reduceat(value, self.starts)[self.pool])
        first = top[np.unique(self.pool[top], return_index=True)[1]]
        return np.asarray(self.x[first].mean(axis=0))
