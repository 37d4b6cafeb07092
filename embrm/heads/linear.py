"""Bradley–Terry logistic regression: the baseline that every other head must be compared with."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np

from embrm.core.arrays import Array
from embrm.core.data import Pairs, Problem
from embrm.core.processes import spread
from embrm.core.progress import tracked
from embrm.core.registry import register
from embrm.core.results import State
from embrm.errors import OptionError
from embrm.heads import _newton
from embrm.heads._head import FittedHead, Head
from embrm.heads._principle import folded
from embrm.heads.gradient.split import bootstrap_prompts, hold_out, moments

GRID = tuple(float(v) for v in np.logspace(4, 0, 9))  # strong to weak, so that each start is close to its solution


@register
@dataclass(frozen=True, kw_only=True)
class Linear(Head):
    """Bradley–Terry logistic regression, its prior tuned on held-out prompts.

    P(w ≻ l) = σ(θᵀ(e_w − e_l)) with a Gaussian prior on θ over features scaled to unit variance, by Newton's method
    (Bradley & Terry 1952). Ties, margins and weights of the pairs are used. With `loss="step"` it is plain logistic
    regression of labelled prefixes, P(right so far) = σ(θᵀe + b), whose logit is the reward from its reference on.

    Attributes:
        prior_precision: λ of the prior, larger is smoother; None chooses it on validation prompts, then fits all pairs.
        members: 1 for the MAP; more are fitted to bootstraps over prompts (a convex fit has no other diversity).
        validation_fraction: share of the pairs held out to choose the prior.
        loss: "bt" for preferences, or "step" for labelled steps (`StepTraces.pairs`).
    """

    prior_precision: float | None = None
    members: int = 1
    validation_fraction: float = 0.15
    loss: Literal["bt", "step"] = "bt"

    def __post_init__(self) -> None:
        if self.loss not in ("bt", "step"):
            raise OptionError(f"loss must be one of bt, step, got '{self.loss}'")
        if self.prior_precision is not None and not self.prior_precision > 0:
            raise OptionError(f"prior_precision must be > 0 (or None to tune it), got {self.prior_precision}")
        if self.members < 1:
            raise OptionError(f"members must be >= 1, got {self.members}")

    @property
    def learns_steps(self) -> bool:
        """Whether the loss is "step"."""
        return self.loss == "step"

    def fit_many(self, problems: Sequence[Problem]) -> list[FittedHead]:
        """Fit the problems one by one: each is a few Newton steps."""
        return spread(self._fit, problems, names=[f"linear, seed {problem.seed}" for problem in problems])

    def _fit(self, problem: Problem) -> FittedLinear:
        x = problem.pairs.features.rows(self.view)
        mean, scale = moments(x, problem.pairs.rows)
        precision = self.prior_precision
        trials: list[dict[str, float]] = []
        if precision is None:
            train, validation = hold_out(problem, fraction=self.validation_fraction, view=self.view)
            if validation is None:
                precision = float(len(train)) ** 0.5
            else:
                precision, trials = self._tune(train, validation, mean, scale)
        record: dict[str, Any] = {"prior_precision": precision, "pairs": len(problem.pairs), "trials": trials}
        data, basis = _newton.Data.of(x, problem.pairs, mean=mean, scale=scale).spanned()
        theta = np.stack([_newton.fit(d, precision=precision).theta for d in self._resamples(data, problem)])
        theta = theta if basis is None else theta @ basis.T
        theta, constant = _newton.without_constant(theta, problem.pairs)
        coefficients = theta / scale
        return FittedLinear(
            head=self,
            width=x.shape[1],
            embedder=problem.pairs.features.embedder,
            reference=coefficients @ mean - constant,
            record=record,
            coefficients=coefficients,
        )

    def _tune(self, train: Pairs, validation: Pairs, mean: Array, scale: Array) -> tuple[float, list[dict[str, float]]]:
        data, basis = _newton.Data.of(train.features.rows(self.view), train, mean=mean, scale=scale).spanned()
        held = _newton.Data.of(validation.features.rows(self.view), validation, mean=mean, scale=scale).along(basis)
        trials: list[dict[str, float]] = []
        fitted, before = None, GRID[0]
        for precision in tracked(GRID, "priors"):
            start = None if fitted is None else fitted.moved(before, precision)
            fitted, before = _newton.fit(data, precision=precision, start=start), precision
            nll = np.average(held.loss(held.margins(fitted.theta)), weights=held.weight)
            trials.append({"prior_precision": precision, "validation_nll": float(nll)})
        return min(trials, key=lambda t: t["validation_nll"])["prior_precision"], trials

    def _resamples(self, data: _newton.Data, problem: Problem) -> list[_newton.Data]:
        if self.members == 1:
            return [data]
        rng = np.random.default_rng(problem.seed)
        drawn = [bootstrap_prompts(problem.pairs, rng) for _ in range(self.members)]
        texts = len(data.d) // len(problem.pairs)  # of labelled steps both of a pair
        return [data.take(np.concatenate([index + t * len(index) for t in range(texts)])) for index in drawn]

    def space(self) -> dict[str, tuple[Any, ...]]:
        """Return the priors; None is the head's own search."""
        return {"prior_precision": (None, *GRID)}

    def restore(self, state: State) -> FittedHead:
        """Rebuild a fitted model from its state."""
        return FittedLinear.of_state(self, state, members=self.members)


@dataclass(frozen=True, eq=False)
class FittedLinear(FittedHead):
    """A linear reward; its latent is the reward itself, one column.

    Attributes:
        coefficients: `(members, d)` in the units of the features.
    """

    coefficients: Array

    @classmethod
    def of_state(cls, head: Head, state: State, *, members: int) -> FittedLinear:
        """Rebuild a fitted model of any head whose rewards are linear."""
        width = state.config["width"]
        return cls(
            head=head,
            width=width,
            embedder=state.config["embedder"],
            reference=state.array("reference", members),
            record=state.config["record"],
            coefficients=state.array("coefficients", members, width),
        )

    def _draws(self, x: Array) -> Array:
        return np.asarray(self.coefficients @ x.T)

    def _latent(self, x: Array, member: int) -> Array:
        return np.asarray(x @ self.coefficients[member])[:, None]

    def _under(self, principle: Array) -> FittedHead:
        view, left, added = folded(self.head.view, self.coefficients[:, :, None], principle.astype(np.float64))
        return replace(
            self,
            head=replace(self.head, view=view),
            width=left.shape[1],
            reference=self.reference - added[:, 0],  # a linear reward has no constant of its own
            coefficients=left[:, :, 0],
        )

    def arrays(self) -> dict[str, Array]:
        """Return the coefficients."""
        return {"coefficients": self.coefficients}
