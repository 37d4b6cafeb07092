"""Energy-based refinement of a reward: a density over rewards for each text."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from embrm.core.arrays import Array, Matrix
from embrm.core.data import Features, Pairs, Problem
from embrm.core.registry import register
from embrm.core.results import Reward, State
from embrm.errors import DataError, OptionError
from embrm.heads._energy import BASE, Energy
from embrm.heads._head import FittedHead, Head
from embrm.heads.gradient.head import FittedNet
from embrm.heads.gradient.layers import tensor

SD = 4.0  # to which the base rewards are brought, as released
POINTS = 241  # of the grid, on ± 3 spreads
BATCH = 64
CHUNK = 256  # texts whose grids are in memory at once


@register
@dataclass(frozen=True, kw_only=True)
class Ebrm(Head):
    """Energy-based refinement: a density over the reward of each text, learned from the rewards of any trained head.

    p(r|e) ∝ exp f(e, r), fitted to (e, base reward) of the pairs that the base orders correctly, by noise contrast:
    the positive is r + ν, ν ~ N(0, (noise · spread)²), the negatives come from N(r, spread²), with rewards of sd 4
    (2504.13134, NCE+). Inference is exact where the source climbs the energy from a random start: r is one number, so
    the density is computed on a grid over the base reward ± 3 spreads. Its mean (or mode) is the reward and its sd the
    `sigma`, both in the units of the base.

    Two cautions. The penalty on f² widens the density (with the released 0.05 a target sd of 1.05 came out as 1.8), so
    it is off by default. And what is learned is a deterministic base reward plus ν: this sd says where the fit is poor
    and how large ν was, and is not the uncertainty of the reward.

    Attributes:
        base: the head to refine; of several members the mean is refined.
        point: whether the reward is the "mean" or the "mode" of the density.
        noise: β, the sd of ν as a share of `spread`.
        spread: σ of the negatives, on the scale where rewards have sd 4.
        negatives: of each text in a step; 768 as released, fewer here, where a step has more texts.
        penalty: weight of f²; 0.05 as released.
        hidden: width of the hidden layer.
        steps: of 64 pairs, about; too few leave the density too wide.
        learning_rate: of the refinement.
    """

    base: Head = field(default_factory=lambda: Head.of("mlp"))
    point: Literal["mean", "mode"] = "mean"
    noise: float = 0.1
    spread: float = 3.5
    negatives: int = 64
    penalty: float = 0.0
    hidden: int = 64
    steps: int = 600
    learning_rate: float = 1e-2

    def __post_init__(self) -> None:
        if self.view not in ("joint", self.base.view):
            raise OptionError(f"view must be that of the base, '{self.base.view}', got '{self.view}'; leave it out")
        object.__setattr__(self, "view", self.base.view)
        if self.point not in ("mean", "mode"):
            raise OptionError(f"point must be 'mean' or 'mode', got '{self.point}'")
        if not 0 < self.noise < 1 or not self.spread > 0 or self.penalty < 0:
            raise OptionError(
                "noise must be inside (0, 1), spread > 0 and penalty >= 0, "
                f"got {self.noise}, {self.spread} and {self.penalty}"
            )
        if min(self.negatives, self.hidden, self.steps) < 1 or not self.learning_rate > 0:
            raise OptionError(
                "negatives, hidden and steps must be >= 1 and learning_rate > 0, "
                f"got {self.negatives}, {self.hidden}, {self.steps} and {self.learning_rate}"
            )

    def energy(self, pairs: int = BATCH) -> Energy:
        """Return the recipe of the energy for so many pairs."""
        shared = ("view", "negatives", "spread", "noise", "penalty", "hidden", "learning_rate")
        epochs = math.ceil(self.steps / math.ceil(pairs / BATCH))
        options = {name: getattr(self, name) for name in shared}
        return Energy(**options, epochs=epochs, batch_size=BATCH, patience=0, centre=0.0)

    def space(self) -> dict[str, Sequence[Any]]:
        """Return what the base may try."""
        return {f"base.{name}": values for name, values in self.base.space().items()}

    def fit_many(self, problems: Sequence[Problem]) -> list[FittedHead]:
        """Fit the bases together, then the energies together.

        Raises:
            DataError: a base orders none of its pairs correctly, so that there is nothing to learn from.
        """
        bases = self.base.fit_many(problems)
        scales = [self._scale(problem, base) for problem, base in zip(problems, bases, strict=True)]
        refined = []
        for problem, base, scale in zip(problems, bases, scales, strict=True):
            kept = _ordered(problem.pairs, base, scale)
            if kept is None:
                raise DataError(
                    f"the base '{base.head.config()['name']}' orders none of {len(problem.pairs)} pairs correctly, and "
                    "the energy is learned from those; use a base that has learned the pairs"
                )
            refined.append(Problem(kept, problem.seed))
        nets: dict[int, FittedNet] = {}
        recipes = [self.energy(len(problem.pairs)) for problem in refined]
        for recipe in dict.fromkeys(recipes):
            same = [i for i, other in enumerate(recipes) if other == recipe]
            nets |= zip(same, recipe.train([refined[i] for i in same]), strict=True)
        out: list[FittedHead] = []
        for i, (problem, base, scale) in enumerate(zip(problems, bases, scales, strict=True)):
            net = nets[i]
            record = {"base": base.record, **net.record}
            known: dict[str, Any] = {"head": self, "width": net.width, "embedder": net.embedder, "record": record}
            model = FittedEbrm(**known, reference=np.zeros(1), base=base, scale=scale, params=net.params)
            used = problem.pairs.features.take(problem.pairs.rows)
            out.append(replace(model, reference=model.score(used).draws.mean(axis=1)))
        return out

    @staticmethod
    def _scale(problem: Problem, base: FittedHead) -> Array:
        reward = base.score(problem.pairs.features.take(problem.pairs.rows)).centred().mean
        return np.array([reward.mean(), max(float(reward.std()), 1e-12) / SD])

    def restore(self, state: State) -> FittedHead:
        """Rebuild a fitted model from its state."""
        from embrm.heads._load import restore

        width = state.config["width"]
        shapes = {name: init.shape for name, init in self.energy().parameters(width).items()}
        return FittedEbrm(
            head=self,
            width=width,
            embedder=state.config["embedder"],
            record=state.config["record"],
            reference=state.array("reference", 1),
            scale=state.array("scale", 2),
            base=restore(state.children["base"]),
            params={name: state.array(name, 1, *shape) for name, shape in shapes.items()},
        )


def _ordered(pairs: Pairs, base: FittedHead, scale: Array) -> Pairs | None:
    """Return the pairs that the base orders correctly, its reward as a view; None where there are none."""
    reward = base.score(pairs.features).centred().mean
    right = reward[pairs.chosen] > reward[pairs.rejected]
    if pairs.tie is not None:
        right |= pairs.tie  # either order of a tie is correct
    if not right.any():
        return None
    standard = ((reward - scale[0]) / scale[1]).astype(np.float32)[:, None]
    kept = pairs.take(right)
    return replace(kept, features=replace(pairs.features, views={**pairs.features.views, BASE: standard}))


class Density(NamedTuple):
    """Densities over the rewards of n texts.

    Attributes:
        grid: `(n, g)` rewards, in the units of the base.
        probability: `(n, g)` of each point, each row summing to 1.
    """

    grid: Array
    probability: Array

    @property
    def mean(self) -> Array:
        """Means `(n,)`."""
        return np.asarray((self.grid * self.probability).sum(axis=1))

    @property
    def mode(self) -> Array:
        """Points of the grid where the density is largest, `(n,)`."""
        return np.take_along_axis(self.grid, self.probability.argmax(axis=1)[:, None], axis=1)[:, 0]

    @property
    def sd(self) -> Array:
        """Standard deviations `(n,)`."""
        return np.asarray(np.sqrt((np.square(self.grid - self.mean[:, None]) * self.probability).sum(axis=1)))

    def quantile(self, level: float) -> Array:
        """Return the smallest points with at least `level` of the probability below or at them, `(n,)`.

        Raises:
            OptionError: `level` is not inside (0, 1).
        """
        if not 0 < level < 1:
            raise OptionError(f"level must be inside (0, 1), got {level}")
        place = (np.cumsum(self.probability, axis=1) < level).sum(axis=1)
        return np.take_along_axis(self.grid, np.minimum(place, self.grid.shape[1] - 1)[:, None], axis=1)[:, 0]


@dataclass(frozen=True, eq=False)
class FittedEbrm(FittedHead):
    """A refined reward; its latent is that of the base.

    Attributes:
        base: the fitted base.
        scale: `(2,)` mean of the base reward on the training texts, and its units in one of the energy's.
        params: parameters of the energy.
    """

    base: FittedHead
    scale: Array
    params: dict[str, Array]

    def density(self, features: Features | npt.ArrayLike) -> Density:
        """Return the density over the reward of each row, exact on its grid."""
        x = self._matrix(features)
        parts = [self._density(x[start : start + CHUNK]) for start in range(0, max(len(x), 1), CHUNK)]
        return Density(*(np.concatenate(column) for column in zip(*parts, strict=True)))

    def score(self, features: Features | npt.ArrayLike, *, chunk: int = 4096) -> Reward:
        """Return the mean or mode of each row's density as the reward, and its sd as `sigma`."""
        x = self._matrix(features)
        value, sd = np.empty((1, len(x))), np.empty((1, len(x)))
        for start in range(0, len(x), CHUNK):
            density, rows = self._density(x[start : start + CHUNK]), slice(start, start + CHUNK)
            value[0, rows] = self._point(density)
            sd[0, rows] = density.sd
        return Reward(value, kind="point", sigma=sd, reference=self.reference)

    @torch.no_grad()
    def _density(self, x: Array) -> Density:
        assert isinstance(self.head, Ebrm)
        energy, params = self.head.energy(), {name: tensor(p) for name, p in self.params.items()}
        base = (self.base._draws(x) - self.base.reference[:, None]).mean(axis=0)
        steps = np.linspace(-3, 3, POINTS) * self.head.spread
        grid = ((base - self.scale[0]) / self.scale[1])[:, None] + steps
        f = energy.energy(params, energy.encode(params, tensor(x)).loc, tensor(grid.astype(np.float32))[None])
        probability = torch.softmax(f[0].cpu().double(), dim=-1).numpy()
        return Density(grid * self.scale[1] + self.scale[0], probability)

    def _point(self, density: Density) -> Array:
        assert isinstance(self.head, Ebrm)
        return density.mean if self.head.point == "mean" else density.mode

    def _view(self, features: Features) -> Matrix:
        return self.base._view(features)

    def _draws(self, x: Array) -> Array:
        return self._point(self._density(x))[None]

    def _latent(self, x: Array, member: int) -> Array:
        return self.base._latent(x, member)

    def arrays(self) -> dict[str, Array]:
        """Return the energy's parameters and the scale of the rewards."""
        return {**self.params, "scale": self.scale}

    def children(self) -> dict[str, FittedHead]:
        """Return the base."""
        return {"base": self.base}
