"""Weight averaging over branches of one trained head."""

from __future__ import annotations

import collections
import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from embrm.core.arrays import Array, Matrix
from embrm.core.data import Features, Problem
from embrm.core.registry import register
from embrm.core.results import State
from embrm.errors import OptionError
from embrm.heads._head import FittedHead, Head
from embrm.heads.dropout import Dropout
from embrm.heads.gradient.head import FittedNet, GradientHead
from embrm.heads.gradient.split import hold_out


@register
@dataclass(frozen=True, kw_only=True)
class Warm(Head):
    """The mean of the weights of several fits that branch from one trained head (WARM).

    A head is trained; its copies are trained further, each in an order and with a learning rate of its own; the weights
    are averaged (Ramé et al. 2401.12187). Members trained from scratch have no common basin, and their average is
    worthless. A reward that is linear in its weights gives the prediction ensemble of the branches. The fitted model
    keeps them as `branches`, so that the average can be compared with that ensemble.

    Attributes:
        base: a gradient head with one member, trained in one stage; of "dropout" the network without its masks.
        members: how many branches.
        rates: learning rates of the branches as shares of the base's, handed out in turn.
        dropouts: of the base "dropout", the shares of the latent that the branches drop, handed out in turn; none means
            that of the base.
        epochs: the most passes over the pairs of a branch.
    """

    base: Head = field(default_factory=lambda: Head.of("mlp"))
    members: int = 6
    rates: tuple[float, ...] = (0.1, 0.4, 1.0)
    dropouts: tuple[float, ...] = ()
    epochs: int = 5

    def __post_init__(self) -> None:
        if not isinstance(self.base, GradientHead) or self.base.members != 1 or self.base.diversity.together:
            raise OptionError(
                "base must be a gradient head trained in one stage, with members=1 and no diversity 'rank', got "
                f"{self.base}; 'ensemble' takes any"
            )
        if self.members < 2 or self.epochs < 1:
            raise OptionError(f"members must be >= 2 and epochs >= 1, got {self.members} and {self.epochs}")
        if not self.rates or min(self.rates) <= 0:
            raise OptionError(f"rates must be shares > 0 of the base's learning rate, got {self.rates}")
        if self.dropouts and not isinstance(self.base, Dropout):
            raise OptionError(f"dropouts are for the base 'dropout', got '{self.base.config()['name']}'")
        object.__setattr__(self, "view", self.base.view)

    @property
    def _gradient_head(self) -> GradientHead:
        assert isinstance(self.base, GradientHead)
        return self.base

    def fit_many(self, problems: Sequence[Problem]) -> list[FittedHead]:
        """Fit the bases together, and then all branches of one kind together."""
        head = self._gradient_head
        split = [self._split(problem) for problem in problems]
        trunks = head.train(split, measured=False)
        parts: list[list[FittedNet]] = []
        for i, (branch, count) in enumerate(self._branches()):
            seeds = [int(np.random.SeedSequence([p.seed, i]).generate_state(1)[0]) for p in split]
            parts.append(
                branch.train(
                    [dataclasses.replace(p, seed=seed) for p, seed in zip(split, seeds, strict=True)],
                    start=[{name: np.repeat(a, count, axis=0) for name, a in t.params.items()} for t in trunks],
                )
            )
        return [self._average(p, list(nets)) for p, nets in zip(split, zip(*parts, strict=True), strict=True)]

    def _branches(self) -> Iterator[tuple[GradientHead, int]]:
        """Yield a head for each way of branching, and its number of members: those of one way are one batch."""
        rates, dropouts = itertools.cycle(self.rates), itertools.cycle(self.dropouts or (None,))
        ways = collections.Counter(itertools.islice(zip(rates, dropouts, strict=False), self.members))
        for (rate, dropout), count in ways.items():
            own: dict[str, Any] = {} if dropout is None else {"rate": dropout}
            own |= {"members": count, "learning_rate": rate * self._gradient_head.learning_rate, "epochs": self.epochs}
            yield dataclasses.replace(self._gradient_head, **own), count

    def _split(self, problem: Problem) -> Problem:
        """Hold the same prompts out for trunk and branches: a branch must not be stopped on what its trunk has seen."""
        head = self._gradient_head
        if not head.patience:
            return problem
        pairs, validation = hold_out(problem, fraction=head.validation_fraction, view=head.view)
        return dataclasses.replace(problem, pairs=pairs, validation=validation)

    def _average(self, problem: Problem, nets: list[FittedNet]) -> FittedWarm:
        stacked = {name: np.concatenate([net.params[name] for net in nets]) for name in nets[0].params}
        branches = dataclasses.replace(
            nets[0],
            head=dataclasses.replace(self._gradient_head, members=self.members),
            reference=np.concatenate([net.reference for net in nets]),
            record={"parts": [net.record for net in nets]},
            params=stacked,
        )
        average = dataclasses.replace(
            nets[0],
            head=self.base,
            reference=np.zeros(1),
            record={},
            params={name: a.mean(axis=0, keepdims=True) for name, a in stacked.items()},
        )
        rewards = average.score(problem.pairs.features.take(problem.pairs.rows)).draws
        average = dataclasses.replace(average, reference=rewards.mean(axis=1))
        return FittedWarm(
            head=self,
            width=average.width,
            embedder=average.embedder,
            reference=average.reference,
            record=branches.record,
            average=average,
            branches=branches,
        )

    def space(self) -> dict[str, Sequence[Any]]:
        """Return what the base may try."""
        return {f"base.{name}": values for name, values in self.base.space().items()}

    def restore(self, state: State) -> FittedHead:
        """Rebuild a fitted model from its state."""
        head = self._gradient_head
        heads = {"average": head, "branches": dataclasses.replace(head, members=self.members)}
        # As plain networks: those of a base with more to it, such as masks, have no more here.
        children: dict[str, Any] = {name: heads[name].restore_network(child) for name, child in state.children.items()}
        return FittedWarm(
            head=self,
            width=state.config["width"],
            embedder=state.config["embedder"],
            reference=state.array("reference", 1),
            record=state.config["record"],
            **children,
        )


@dataclass(frozen=True, eq=False)
class FittedWarm(FittedHead):
    """The averaged head, and what it is the average of.

    Attributes:
        average: one member, which scores.
        branches: the members before averaging.
    """

    average: FittedHead
    branches: FittedHead

    def _view(self, features: Features) -> Matrix:
        return self.average._view(features)

    def _draws(self, x: Array) -> Array:
        return self.average._draws(x)

    def _latent(self, x: Array, member: int) -> Array:
        return self.average._latent(x, member)

    def arrays(self) -> dict[str, Array]:
        """Return nothing: the children have all."""
        return {}

    def children(self) -> dict[str, FittedHead]:
        """Return the average and the branches."""
        return {"average": self.average, "branches": self.branches}
