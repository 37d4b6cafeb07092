"""The exact Bayesian last layer: the posterior of a linear reward by Laplace's approximation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from scipy.special import expit

from embrm.core.arrays import Array, Matrix
from embrm.core.data import Features, Pairs, Problem
from embrm.core.processes import spread
from embrm.core.registry import register
from embrm.core.results import Kind, State
from embrm.errors import OptionError
from embrm.heads import _evidence, _newton
from embrm.heads._head import FittedHead, Head
from embrm.heads.gradient.split import moments


@register
@dataclass(frozen=True, kw_only=True)
class Laplace(Head):
    """The exact posterior curvature of a linear reward (Laplace), on the embedding or on a trained head's latent.

    θ ~ N(MAP, H⁻¹) with H = λI + Σ p(1 − p) d dᵀ, d = e_w − e_l, over features scaled to unit variance, and the same λ
    in mean and covariance (MacKay 1992; on a network's last layer Kristiadi et al. 2002.10118). The draws of θ are
    joint over all texts and come in pairs MAP ± ε, so that their mean is the MAP's reward. The model also gives the
    exact mean and sd of any difference, and P(win) with the probit correction.

    Attributes:
        prior_precision: λ; None maximises the marginal likelihood, which needs no held-out prompts.
        draws: posterior draws that `score` returns, an even number.
        base: a head with one member, trained first; θ then acts on its latent. None: on the features themselves.
    """

    distance_aware: ClassVar[bool] = True
    prior_precision: float | None = None
    draws: int = 64
    base: Head | None = None

    def __post_init__(self) -> None:
        if self.prior_precision is not None and not self.prior_precision > 0:
            raise OptionError(
                f"prior_precision must be > 0 (or None for the marginal likelihood), got {self.prior_precision}"
            )
        if self.draws < 2 or self.draws % 2:
            raise OptionError(f"draws must be even and >= 2 (they come in pairs), got {self.draws}")
        if self.base is not None:
            if self.view not in ("joint", self.base.view):
                raise OptionError(f"view must be that of the base, '{self.base.view}', got '{self.view}'; leave it out")
            object.__setattr__(self, "view", self.base.view)

    def fit_many(self, problems: Sequence[Problem]) -> list[FittedHead]:
        """Fit the bases together, and each posterior in a few Newton steps."""
        bases = [None] * len(problems) if self.base is None else self.base.fit_many(problems)
        jobs = list(zip(problems, bases, strict=True))
        return spread(self._fit, jobs, names=[f"laplace, seed {problem.seed}" for problem in problems])

    def _fit(self, job: tuple[Problem, FittedHead | None]) -> FittedLaplace:
        problem, base = job
        features = problem.pairs.features
        if base is not None and base.members != 1:
            raise OptionError(
                f"base must have one latent, got a head of {base.members} members; give it members=1 and wrap the "
                "Laplace in an ensemble"
            )
        z = features.rows(self.view) if base is None else base.latent(features)
        used = problem.pairs.rows
        mean, scale = moments(z, used)
        data, basis = _newton.Data.of(z, problem.pairs, scale=scale).spanned()
        record: dict[str, Any] = {"pairs": len(problem.pairs)}
        if self.prior_precision is None:
            fitted, trials = _evidence.search(data)
            precision = trials[-1]["prior_precision"]
            low, high = _evidence.BOUNDS
            record["at_bound"] = bool(precision < 1.01 * low or precision > 0.99 * high)
        else:
            precision = self.prior_precision
            fitted = _newton.fit(data, precision=precision)
            trials = [{"prior_precision": precision, "log_evidence": _evidence.log_evidence(fitted, precision)}]
        record |= {"prior_precision": precision, "log_evidence": trials[-1]["log_evidence"], "trials": trials}
        root, theta = _evidence.inverse_root(fitted.hessian), fitted.theta
        rng = np.random.default_rng(problem.seed)
        prior: dict[str, Any] = {}
        if basis is not None:
            root, theta = basis @ root, basis @ theta
            prior = {"basis": basis, "prior_sd": 1 / (np.sqrt(precision) * scale)}
        root, theta = root / scale[:, None], theta / scale
        noise = rng.standard_normal((self.draws // 2, root.shape[1])) @ root.T
        if basis is not None:  # outside the span of the differences the posterior is the prior
            wide = rng.standard_normal((self.draws // 2, len(basis)))
            noise = noise + (wide - (wide @ basis) @ basis.T) * prior["prior_sd"]
        coefficients = theta + np.concatenate([noise, -noise])
        return FittedLaplace(
            head=self,
            width=z.shape[1] if base is None else base.width,
            embedder=features.embedder,
            reference=coefficients @ mean,
            record=record,
            coefficients=coefficients,
            theta=theta,
            root=root,
            base=base,
            **prior,
        )

    def space(self) -> dict[str, Sequence[Any]]:
        """Return what the base may try: the marginal likelihood chooses the prior."""
        return {} if self.base is None else {f"base.{name}": values for name, values in self.base.space().items()}

    def restore(self, state: State) -> FittedHead:
        """Rebuild a fitted model from its state."""
        from embrm.heads._load import restore

        theta, reference = state.array("theta", None), state.array("reference", None)
        k, reached = len(theta), "basis" in state.arrays
        return FittedLaplace(
            head=self,
            width=state.config["width"],
            embedder=state.config["embedder"],
            record=state.config["record"],
            reference=reference,
            coefficients=state.array("coefficients", len(reference), k),
            theta=theta,
            root=state.array("root", k, None),
            base=restore(state.children["base"]) if state.children else None,
            basis=state.array("basis", k, None) if reached else None,
            prior_sd=state.array("prior_sd", k) if reached else None,
        )


@dataclass(frozen=True, eq=False)
class FittedLaplace(FittedHead):
    """A Gaussian over linear rewards of a latent of `k` columns.

    Attributes:
        coefficients: `(draws, k)` joint draws, in the units of the latent.
        theta: `(k,)` the MAP.
        root: `(k, r)` with `root rootᵀ` the covariance, as far as the differences of the pairs reach.
        base: what gives the latent; None: the features themselves.
        basis: `(k, r)` orthonormal: the scaled directions that they reach, where those are fewer than the columns, or
            None. In all others the posterior is the prior.
        prior_sd: `(k,)` its standard deviation for each column, or None.
    """

    coefficients: Array
    theta: Array
    root: Array
    base: FittedHead | None
    basis: Array | None = None
    prior_sd: Array | None = None

    @property
    def kind(self) -> Kind:
        """Posterior draws."""
        return "posterior"

    @property
    def covariance(self) -> Array:
        """Covariance `(k, k)` of θ."""
        covariance = self.root @ self.root.T
        if self.basis is not None and self.prior_sd is not None:
            reached = self.prior_sd[:, None] * self.basis
            covariance = covariance + np.diag(self.prior_sd**2) - reached @ reached.T
        return np.asarray(covariance)

    def difference(self, pairs: Pairs) -> tuple[Array, Array]:
        """Return the exact posterior mean and sd `(n,)` of r_chosen − r_rejected."""
        z = self._matrix(pairs.features) if self.base is None else self.base.latent(pairs.features)
        d = z[pairs.chosen].astype(np.float64) - z[pairs.rejected]
        variance = np.square(d @ self.root).sum(axis=1)
        if self.basis is not None and self.prior_sd is not None:
            u = d * self.prior_sd
            variance += np.maximum(np.square(u).sum(axis=1) - np.square(u @ self.basis).sum(axis=1), 0)
        return np.asarray(d @ self.theta), np.sqrt(variance)

    def win_probability(self, pairs: Pairs) -> Array:
        """Return P(chosen ≻ rejected) `(n,)` = σ(μ/√(1 + πs²/8)), μ and s those of `difference` (MacKay 1992)."""
        mean, sd = self.difference(pairs)
        return np.asarray(expit(mean / np.sqrt(1 + np.pi * sd**2 / 8)))

    def _view(self, features: Features) -> Matrix:
        return super()._view(features) if self.base is None else self.base._view(features)

    def _space(self, x: Array) -> Array:
        return x if self.base is None else self.base._latent(x, 0)

    def _draws(self, x: Array) -> Array:
        return np.asarray(self.coefficients @ self._space(x).T)

    def _latent(self, x: Array, member: int) -> Array:
        return np.asarray(x @ self.theta)[:, None] if self.base is None else self.base._latent(x, 0)

    def arrays(self) -> dict[str, Array]:
        """Return the posterior."""
        prior = {} if self.basis is None or self.prior_sd is None else {"basis": self.basis, "prior_sd": self.prior_sd}
        return {"coefficients": self.coefficients, "theta": self.theta, "root": self.root, **prior}

    def children(self) -> dict[str, FittedHead]:
        """Return the base, if there is one."""
        return {} if self.base is None else {"base": self.base}
