"""The reference posterior of a linear reward, by the No-U-Turn sampler."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
import pyro
import scipy.linalg
import torch
from pyro.infer import MCMC, NUTS
from pyro.ops.stats import effective_sample_size, split_gelman_rubin
from torch import Tensor
from torch.nn import functional

from embrm.core.arrays import Array
from embrm.core.data import Problem
from embrm.core.processes import spread
from embrm.core.progress import tracked
from embrm.core.registry import register
from embrm.core.results import Kind, State
from embrm.errors import ConvergenceError, OptionError
from embrm.heads import _evidence, _newton
from embrm.heads._head import FittedHead, Head
from embrm.heads.gradient.split import moments

R_HAT = 1.05


class _Posterior(NamedTuple):
    """A posterior written as θ = MAP + root·u, so that u is nearly N(0, I) and NUTS takes long steps."""

    data: _newton.Data
    precision: float
    theta: Array
    root: Array

    @classmethod
    def of(cls, data: _newton.Data, precision: float | None) -> _Posterior:
        if precision is None:
            fitted, trials = _evidence.search(data)
            precision = trials[-1]["prior_precision"]
        else:
            fitted = _newton.fit(data, precision=precision)
        return cls(data, precision, fitted.theta, _evidence.inverse_root(fitted.hessian))

    def sample(self, *, chains: int, warmup: int, draws: int, seed: int) -> Tensor:
        """Return u, `(chains, draws, k)`, each chain from a start of its own."""
        weight, target, margin = (torch.from_numpy(np.asarray(a, dtype=np.float64)) for a in self.data[1:])
        theta, root = torch.from_numpy(self.theta), torch.from_numpy(self.root)
        d = torch.from_numpy(self.data.d[:].astype(np.float64))
        at_map, slope = d @ theta - margin, d @ root

        def potential(u: dict[str, Tensor]) -> Tensor:
            z = at_map + slope @ u["u"]
            return (
                weight @ (functional.softplus(z) - target * z)
                + 0.5 * self.precision * (theta + root @ u["u"]).square().sum()
            )

        out = []
        # NUTS draws from torch's global generator.
        with torch.random.fork_rng(devices=[]), pyro.get_param_store().scope():
            torch.manual_seed(seed)
            for _ in tracked(range(chains), "chains"):
                kernel = NUTS(potential_fn=potential, adapt_mass_matrix=False)
                start = {"u": 2 * torch.randn(len(theta), dtype=torch.float64)}
                run = MCMC(kernel, num_samples=draws, warmup_steps=warmup, initial_params=start, disable_progbar=True)
                run.run()
                out.append(run.get_samples()["u"])
        return torch.stack(out)


@register
@dataclass(frozen=True, kw_only=True)
class Hmc(Head):
    """The reference posterior of the linear reward by Hamiltonian Monte Carlo (NUTS), for small problems.

    The model of `laplace`, sampled without approximation by the No-U-Turn sampler (Hoffman & Gelman 2014) in the
    coordinates in which Laplace's approximation is N(0, I), over at most `components` principal components of the
    features. The default 1 200 transitions on 2 000 pairs × 50 components cost about six seconds of one core; the cost
    grows with pairs × components.

    Attributes:
        prior_precision: λ over features of unit variance; None takes that of highest (Laplace) evidence.
        components: the most columns that are sampled; wider features are reduced to their leading principal
            components on the training texts.
        draws: posterior draws of each chain, all of which `score` returns.
        warmup: transitions of each chain before them.
        chains: independent chains, at least 2, from overdispersed starts; the split R-hat compares them.
    """

    distance_aware: ClassVar[bool] = True
    prior_precision: float | None = None
    components: int = 50
    draws: int = 150
    warmup: int = 150
    chains: int = 4

    def __post_init__(self) -> None:
        if self.prior_precision is not None and not self.prior_precision > 0:
            raise OptionError(f"prior_precision must be > 0 (or None for the evidence), got {self.prior_precision}")
        for name, least in (("components", 1), ("draws", 4), ("warmup", 1), ("chains", 2)):
            if getattr(self, name) < least:
                raise OptionError(f"{name} must be >= {least}, got {getattr(self, name)}")

    def fit_many(self, problems: Sequence[Problem]) -> list[FittedHead]:
        """Sample the problems one by one.

        Raises:
            ConvergenceError: the R-hat of a coordinate is above 1.05.
        """
        return spread(self._fit, problems, names=[f"hmc, seed {problem.seed}" for problem in problems])

    def _fit(self, problem: Problem) -> FittedHmc:
        pairs = problem.pairs
        x = pairs.features.matrix(self.view)
        mean, scale = moments(x, pairs.rows)
        basis = self._basis(x[pairs.rows], mean, scale)
        data = _newton.Data.of(x, pairs, scale=scale)
        posterior = _Posterior.of(data.along(basis), self.prior_precision)
        u = posterior.sample(chains=self.chains, warmup=self.warmup, draws=self.draws, seed=problem.seed)
        r_hat = float(split_gelman_rubin(u, chain_dim=0, sample_dim=1).max())
        if not r_hat <= R_HAT:
            raise ConvergenceError(
                f"the chains disagree: R-hat is {r_hat:.3f} and must be <= {R_HAT}; raise warmup or draws "
                f"(now {self.warmup} and {self.draws}), or lower components (now {basis.shape[1]})"
            )
        theta = posterior.theta + u.reshape(-1, u.shape[-1]).numpy() @ posterior.root.T
        coefficients = theta @ basis.T / scale
        record = {
            "pairs": len(pairs),
            "prior_precision": posterior.precision,
            "components": basis.shape[1],
            "r_hat": r_hat,
            "effective_sample_size": float(effective_sample_size(u, chain_dim=0, sample_dim=1).min()),
        }
        return FittedHmc(
            head=self,
            width=x.shape[1],
            embedder=pairs.features.embedder,
            reference=coefficients @ mean,
            record=record,
            coefficients=coefficients,
        )

    def _basis(self, x: Array, mean: Array, scale: Array) -> Array:
        """Return orthonormal columns `(d, k)`: the leading principal components, or all columns where they are few."""
        if x.shape[1] <= self.components:
            return np.eye(x.shape[1])
        scaled = (x - mean) / scale
        if len(x) < x.shape[1]:  # the rows' products are the smaller matrix, and have the same components
            values, vectors = scipy.linalg.eigh(scaled @ scaled.T)
            kept = np.flatnonzero(values > values[-1] * len(x) * np.finfo(np.float32).eps)[::-1][: self.components]
            return np.asarray(scaled.T @ (vectors[:, kept] / np.sqrt(values[kept])))
        vectors = scipy.linalg.eigh(scaled.T @ scaled)[1]
        return np.asarray(vectors[:, ::-1][:, : self.components])

    def space(self) -> dict[str, tuple[int, ...]]:
        """Return how far to reduce: the evidence chooses the prior."""
        return {"components": (10, 25, 50)}

    def restore(self, state: State) -> FittedHead:
        """Rebuild a fitted model from its state."""
        width, reference = state.config["width"], state.array("reference", None)
        return FittedHmc(
            head=self,
            width=width,
            embedder=state.config["embedder"],
            record=state.config["record"],
            reference=reference,
            coefficients=state.array("coefficients", len(reference), width),
        )


@dataclass(frozen=True, eq=False)
class FittedHmc(FittedHead):
    """Posterior draws of a linear reward; the latent is the mean reward, one column.

    Attributes:
        coefficients: `(chains · draws, d)` in the units of the features.
    """

    coefficients: Array

    @property
    def kind(self) -> Kind:
        """Posterior draws."""
        return "posterior"

    def _draws(self, x: Array) -> Array:
        return np.asarray(self.coefficients @ x.T)

    def _latent(self, x: Array, member: int) -> Array:
        return np.asarray(x @ self.coefficients.mean(axis=0))[:, None]

    def arrays(self) -> dict[str, Array]:
        """Return the draws."""
        return {"coefficients": self.coefficients}
