"""An ensemble of any head."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import Array
from embrm.core.data import Features, Problem
from embrm.core.registry import register
from embrm.core.results import Kind, Reward, State
from embrm.core.seen import TrainingTexts
from embrm.errors import OptionError
from embrm.heads._head import FittedHead, Head
from embrm.heads.gradient.diversity import Rank
from embrm.heads.gradient.head import GradientHead
from embrm.heads.gradient.split import bootstrap_prompts

DIVERSITY = ("seed", "bootstrap", "embedder", "rank_bonus")


@register
@dataclass(frozen=True, kw_only=True)
class Ensemble(Head):
    """Several fits of one head, of any kind, that differ in seed, bootstrap, embedder or by a bonus for difference.

    All members of all problems go to the base in one `fit_many`. The draws of the members stand one below the other.

    Attributes:
        base: the head.
        members: how many fits of it.
        diversity: what makes the members differ. "seed": initialisation, order of the pairs and split (Coste et al.
            2310.02743); a head whose fit is convex hardly differs by it. "bootstrap": each has its own bootstrap over
            prompts too. "embedder": member k reads the k-th of `views` (for Eisenstein et al., 2312.09244, it is
            pretraining seeds that matter: this is the nearest for frozen embedders). "rank_bonus": members are trained
            together and paid for different input layers (UP-RLHF, 2401.00243), which only gradient heads can.
        views: the views that "embedder" hands out in turn, such as ("minilm:joint", "hashing:joint").
        bonus: λ of "rank_bonus"; larger makes the members differ more.
    """

    base: Head = field(default_factory=lambda: Head.of("mlp"))
    members: int = 5
    diversity: Literal["seed", "bootstrap", "embedder", "rank_bonus"] = "seed"
    views: tuple[str, ...] = ()
    bonus: float = 0.1

    def __post_init__(self) -> None:
        if self.members < 2:
            raise OptionError(f"members must be >= 2, got {self.members}; use the base alone for one")
        if self.diversity not in DIVERSITY:
            raise OptionError(f"diversity must be one of {', '.join(DIVERSITY)}, got '{self.diversity}'")
        if (self.diversity == "embedder") != (len(self.views) > 1):
            raise OptionError(
                f"views are for diversity 'embedder', which needs at least two, got {self.views} with "
                f"diversity '{self.diversity}'"
            )
        if self.diversity == "rank_bonus" and not isinstance(self.base, GradientHead):
            raise OptionError(
                f"diversity 'rank_bonus' needs a head trained by gradient, got '{self.base.config()['name']}'; use "
                "'bootstrap'"
            )
        object.__setattr__(self, "view", self.views[0] if self.views else self.base.view)

    def fit_many(self, problems: Sequence[Problem]) -> list[FittedHead]:
        """Fit all members of all problems, those that read one view together."""
        if self.diversity == "rank_bonus":
            assert isinstance(self.base, GradientHead)
            together = dataclasses.replace(self.base, members=self.members, diversity=Rank(self.bonus))
            return [self.collect([model]) for model in together.fit_many(problems)]
        jobs = [(p, k) for p in range(len(problems)) for k in range(self.members)]
        fitted: dict[tuple[int, int], FittedHead] = {}
        for view in dict.fromkeys(self._view_of(k) for k in range(self.members)):
            mine = [job for job in jobs if self._view_of(job[1]) == view]
            base = self.base if view == self.base.view else dataclasses.replace(self.base, view=view)
            models = base.fit_many([self._problem(problems[p], k) for p, k in mine])
            fitted.update(zip(mine, models, strict=True))
        return [self.collect([fitted[p, k] for k in range(self.members)]) for p in range(len(problems))]

    @property
    def reads(self) -> tuple[str, ...]:
        """The views that the members read."""
        return self.views or self.base.reads

    def _view_of(self, member: int) -> str:
        return self.views[member % len(self.views)] if self.views else self.view

    def _problem(self, problem: Problem, member: int) -> Problem:
        sequence = np.random.SeedSequence([problem.seed, member])
        seed, pairs = int(sequence.generate_state(1)[0]), problem.pairs
        if self.diversity == "bootstrap":
            pairs = pairs.take(bootstrap_prompts(pairs, np.random.default_rng(sequence)))
        return dataclasses.replace(problem, pairs=pairs, seed=seed)

    def each(self, problem: Problem) -> list[tuple[Head, Problem]]:
        """Return the head of each member and its problem, for what fits the members itself; `collect` joins them.

        Raises:
            OptionError: the members are trained together, so that none is fitted alone.
        """
        if self.diversity == "rank_bonus":
            raise OptionError("members with diversity 'rank_bonus' are trained together; take 'seed' or 'embedder'")
        bases = (dataclasses.replace(self.base, view=self._view_of(k)) for k in range(self.members))
        return [(base, self._problem(problem, k)) for k, base in enumerate(bases)]

    def collect(self, models: Sequence[FittedHead]) -> FittedEnsemble:
        """Return fitted members as one model, which knows the training texts of all of them."""
        seen = [model.seen for model in models if model.seen is not None]
        return FittedEnsemble(
            head=self,
            width=models[0].width,
            embedder=models[0].embedder,
            reference=np.concatenate([model.reference for model in models]),
            record={"members": [model.record for model in models]},
            models=tuple(dataclasses.replace(model, seen=None, principles=None) for model in models),
            seen=functools.reduce(TrainingTexts.__or__, seen) if len(seen) == len(models) else None,
        )

    def space(self) -> dict[str, Sequence[Any]]:
        """Return what the base may try."""
        return {f"base.{name}": values for name, values in self.base.space().items()}

    def restore(self, state: State) -> FittedHead:
        """Rebuild a fitted model from its state."""
        from embrm.heads._load import restore

        return self.collect([restore(state.children[str(k)]) for k in range(len(state.children))])


@dataclass(frozen=True, eq=False)
class FittedEnsemble(FittedHead):
    """Fitted members; each may have draws of its own, and reads a view of its own.

    Attributes:
        models: the members.
    """

    models: tuple[FittedHead, ...]

    @property
    def kind(self) -> Kind:
        """Members, or posterior draws where each member is a posterior: a mixture then."""
        return "posterior" if any(model.kind == "posterior" for model in self.models) else "members"

    @property
    def widths(self) -> dict[str, int]:
        """The views that the members read, and their columns."""
        return {view: width for model in self.models for view, width in model.widths.items()}

    def score(self, features: Features | npt.ArrayLike, *, chunk: int = 4096) -> Reward:
        """Return the draws of all members for each row."""
        rewards = [model.score(features, chunk=chunk) for model in self.models]
        sigma = [reward.sigma for reward in rewards if reward.sigma is not None]
        return Reward(
            np.concatenate([reward.draws for reward in rewards]),
            kind=self.kind,
            sigma=np.concatenate(sigma) if len(sigma) == len(rewards) else None,
            reference=self.reference,
        )

    def latent(self, features: Features | npt.ArrayLike, *, member: int = 0, chunk: int = 4096) -> Array:
        """Return the latents `(n, k)` behind one draw, from the member that gives it."""
        self._check_member(member)
        model, own = self._member(member)
        return model.latent(features, member=own, chunk=chunk)

    def _member(self, draw: int) -> tuple[FittedHead, int]:
        """Return the model that gives a draw, and the number of the draw there."""
        for model in self.models:
            if draw < model.members:
                break
            draw -= model.members
        return model, draw

    # Of rows that all members read; `score` and `latent` serve members that read views of their own too.
    def _draws(self, x: Array) -> Array:
        return np.concatenate([model._draws(x) for model in self.models])

    def _latent(self, x: Array, member: int) -> Array:
        model, own = self._member(member)
        return model._latent(x, own)

    def _under(self, principle: Array) -> FittedHead:
        assert isinstance(self.head, Ensemble)
        models = [model.under(principle) for model in self.models]
        base = dataclasses.replace(self.head.base, view=models[0].head.view)
        views = tuple(model.head.view for model in models) if self.head.views else ()
        return dataclasses.replace(self.head, base=base, views=views).collect(models)

    def arrays(self) -> dict[str, Array]:
        """Return nothing: the members have all."""
        return {}

    def children(self) -> dict[str, FittedHead]:
        """Return the members."""
        return {str(k): model for k, model in enumerate(self.models)}
