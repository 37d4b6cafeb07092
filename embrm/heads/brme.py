"""The Bayesian reward-model ensemble of Reward-Robust RLHF."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtri
from torch import Tensor
from torch.nn import functional

from embrm.core.arrays import Array
from embrm.core.data import Features, Pairs, Problem
from embrm.core.registry import register
from embrm.core.results import Reward, State
from embrm.errors import OptionError
from embrm.heads._brme import diagnostics, second_problems
from embrm.heads._head import FittedHead
from embrm.heads.gradient.head import FittedNet, GradientHead
from embrm.heads.gradient.latent import Latent
from embrm.heads.gradient.network import Batch, Init, Params, affine, dense, tensor
from embrm.heads.gradient.split import hold_out, rows_of
from embrm.heads.mlp import Mlp

SPREAD = 0.3  # of the heads' starts around the read-out of stage 1, as a share of it
CAP = 5.0  # of a text's σ under marginal_bt, which identifies it poorly
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(32)
EXACT_UP_TO = CAP  # sd of a difference up to which 32 nodes are within 0.2 %; above it the probit form


@register
@dataclass(frozen=True, kw_only=True)
class Brme(GradientHead):
    """Heads that each state a mean and a standard deviation of the reward, on one trunk (Reward-Robust RLHF).

    Stage 1 trains trunk and one Bradley–Terry head; stage 2 the `members` heads, each with a bootstrap over prompts
    and an initialisation of its own (2409.15360). The source gives an MSE loss for stage 2 and neither its target nor
    whether the trunk is frozen, so both are options, and the defaults are a reconstruction. `score` gives each head's μ
    as draws and its σ as `sigma`; the rules `robust` and `worst_case` make nominal, robust and mixed rewards of them.
    The record holds diagnostics on held-out pairs, see `diagnose`. The latent is the trunk's last layer.

    Attributes:
        stage2: "gaussian_nll" (default) fits N(μ, σ²) to the rewards of bootstrap refits of stage 1, in expectation
            over the refits: with one fixed target its σ would go to 0. "marginal_bt" is −log E σ(Δμ + s ε) with
            s² = σ_w² + σ_l²; it identifies little more than Δμ/√(1 + π s²/8), so σ has a log-normal prior and a cap of
            5. "sampled_mse" is the literal E(μ + σε − t)² = (μ − t)² + σ², whose σ collapses to the floor everywhere,
            so that "the head with the smallest σ" is noise; kept as the negative result that it is.
        freeze_trunk: whether the trunk stays as stage 1 left it; else each head continues its own copy of it.
        head_learning_rate: peak step size of stage 2; its read-outs stand larger steps than a network.
        refits: bootstrap refits of stage 1 that "gaussian_nll" and "sampled_mse" regress on, at least 8.
        sigma_floor: smallest σ.
        sigma_prior: centre of the log-normal prior of σ under "marginal_bt".
        sigma_weight: weight of that prior in the loss of a text.
        hidden: widths of the trunk.
    """

    members: int = 5
    diversity: Literal["seed", "bootstrap"] = "bootstrap"
    stage2: Literal["gaussian_nll", "marginal_bt", "sampled_mse"] = "gaussian_nll"
    freeze_trunk: bool = True
    head_learning_rate: float = 1e-2
    refits: int = 16
    sigma_floor: float = 1e-3
    sigma_prior: float = 0.5
    sigma_weight: float = 0.05
    hidden: tuple[int, ...] = (128, 64)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.stage2 not in ("gaussian_nll", "marginal_bt", "sampled_mse"):
            raise OptionError(f"stage2 must be gaussian_nll, marginal_bt or sampled_mse, got '{self.stage2}'")
        if self.rank_bonus:
            raise OptionError("brme's heads share a trunk, which leaves a rank_bonus nothing to pay for; set it to 0")
        if self.refits < 8:
            raise OptionError(f"refits must be >= 8 (σ is their spread), got {self.refits}")
        if not 0 < self.sigma_floor < self.sigma_prior < CAP or self.sigma_weight < 0:
            raise OptionError(
                f"need 0 < sigma_floor < sigma_prior < {CAP:g} and sigma_weight >= 0, "
                f"got {self.sigma_floor}, {self.sigma_prior} and {self.sigma_weight}"
            )

    def space(self) -> Mapping[str, Sequence[Any]]:
        """Return the space of the trunk."""
        return self.trunk().space()

    def trunk(self, **options: Any) -> Mlp:
        """Return the recipe of stage 1."""
        shared = {field.name: getattr(self, field.name) for field in fields(GradientHead)}
        return Mlp(**{**shared, "members": 1, "diversity": "seed", "hidden": self.hidden, **options})

    def parameters(self, width: int) -> dict[str, Init]:
        """Return the trunk's parameters and a head's two read-outs, μ and the raw σ."""
        trunk = {name: init for name, init in self.trunk().parameters(width).items() if name != "reward.weight"}
        return trunk | dense("head", self.hidden[-1], 2)

    def encode(self, params: Params, x: Tensor) -> Latent:
        """Return μ and the raw σ, `(R, n, 2)`; a trunk of one replicate serves all heads."""
        h = self.trunk().encode(params, x).loc
        return Latent(affine(params, "head", h[0] if len(h) == 1 else h))

    def decode(self, params: Params, z: Tensor) -> Tensor:
        """Return μ."""
        return z[..., 0]

    def sigma(self, z: Tensor) -> Tensor:
        """Return σ `(R, n)` of what `encode` gave."""
        return self.sigma_floor + functional.softplus(z[..., 1])

    def pair_numbers(self, pairs: Pairs) -> Array:
        """Return the targets' mean of the chosen and the rejected texts, and their variances, `(4, n)`."""
        if self.stage2 == "marginal_bt":
            return super().pair_numbers(pairs)
        target = pairs.features.matrix("target")
        return np.concatenate([target[rows].T for rows in (pairs.chosen, pairs.rejected)])[[0, 2, 1, 3]]

    def preference(self, params: Params, z: Tensor, reward: Tensor, batch: Batch) -> Tensor:
        """Return the loss of stage 2, of each pair `(R, B)`."""
        sigma = self.sigma(z)
        if self.stage2 == "marginal_bt":
            return self._marginal(reward, sigma.clamp_max(CAP), batch)
        chosen, rejected, chosen_variance, rejected_variance = batch.extra
        error = (reward - torch.cat([chosen, rejected], dim=-1)).square()
        error = error + torch.cat([chosen_variance, rejected_variance], dim=-1)
        per_text = error + sigma.square()
        if self.stage2 == "gaussian_nll":
            per_text = 0.5 * error / sigma.square() + sigma.log()
        of_chosen, of_rejected = per_text.chunk(2, dim=-1)
        return of_chosen + of_rejected

    def _marginal(self, reward: Tensor, sigma: Tensor, batch: Batch) -> Tensor:
        """Return −log E_ε P(label | Δμ + s ε) + the prior of both σ."""
        chosen, rejected = reward.chunk(2, dim=-1)
        sigma_chosen, sigma_rejected = sigma.chunk(2, dim=-1)
        z, s = chosen - rejected - batch.margin, (sigma_chosen.square() + sigma_rejected.square()).sqrt()
        nodes, weights = (torch.from_numpy(a).to(z) for a in (NODES, WEIGHTS / WEIGHTS.sum()))
        target = batch.target.unsqueeze(-1)
        at_nodes = z.unsqueeze(-1) + s.unsqueeze(-1) * nodes
        exact = -torch.logsumexp(target * at_nodes - functional.softplus(at_nodes) + weights.log(), dim=-1)
        flat = z / (1 + math.pi * s.square() / 8).sqrt()
        probit = functional.softplus(flat) - batch.target * flat
        prior = 0.5 * (sigma.log() - math.log(self.sigma_prior)).square()
        prior_chosen, prior_rejected = prior.chunk(2, dim=-1)
        return torch.where(s <= EXACT_UP_TO, exact, probit) + self.sigma_weight * (prior_chosen + prior_rejected)

    def fit_many(self, problems: Sequence[Problem]) -> list[FittedHead]:
        """Fit stage 1 of all problems together, then stage 2."""
        split = []
        for problem in problems:
            pairs, validation = hold_out(problem, fraction=self.validation_fraction, view=self.view)
            split.append(replace(problem, pairs=pairs, validation=validation))
        first = self.trunk().train(split)
        refits: Sequence[FittedNet | None] = [None] * len(split)
        if self.stage2 != "marginal_bt":
            refits = self.trunk(members=self.refits, diversity="bootstrap").train(split)
        stage2 = second_problems(split, first, refits, frozen=self.freeze_trunk)
        once: dict[str, Any] = {"loss": "bt", "augment": "none", "pessimism": 0.0}  # these acted in stage 1
        once["learning_rate"] = self.head_learning_rate if self.freeze_trunk else self.learning_rate
        if self.stage2 != "marginal_bt":
            once["centre"] = 0.0  # its targets have an offset
        recipe = _FrozenTrunk(**{**vars(self), **once, "view": "trunk"}) if self.freeze_trunk else replace(self, **once)
        starts = [self._start(*each) for each in zip(stage2, first, strict=True)]
        heads = recipe.train(stage2, start=starts)
        return [self._join(*each) for each in zip(split, first, heads, strict=True)]

    def _start(self, problem: Problem, net: FittedNet) -> dict[str, Array]:
        """Return the parameters that stage 2 starts from, `(members, ...)`.

        Each head starts somewhere around the reward of stage 1, brought to the scale of the targets, and at one σ.
        """
        readout, sigma, shift = net.params["reward.weight"], self.sigma_prior, 0.0
        if self.stage2 != "marginal_bt":
            target = problem.pairs.features.matrix("target")[rows_of(problem.pairs)]
            ratio, sigma = (
                float(target[:, 0].std()) / net.record["sd"][0],
                max(float(np.sqrt(target[:, 1].mean())), 1e-2),
            )
            readout, shift = readout * ratio, -float(net.reference[0]) * ratio
        rng = np.random.default_rng([problem.seed, 2])
        around = 1 + SPREAD * rng.standard_normal((self.members, *readout.shape[1:]))
        layer = "input" if self.freeze_trunk else "head"
        weight = np.concatenate([readout * around, np.zeros_like(readout * around)], axis=2)
        bias = np.tile([[shift, math.log(math.expm1(sigma))]], (self.members, 1))
        trunk = {} if self.freeze_trunk else _trunk(net)
        return {
            **{name: np.repeat(p, self.members, axis=0) for name, p in trunk.items()},
            f"{layer}.weight": weight.astype(np.float32),
            f"{layer}.bias": bias.astype(np.float32),
        }

    def _join(self, problem: Problem, first: FittedNet, heads: FittedNet) -> FittedBrme:
        params = {name.replace("input", "head") if self.freeze_trunk else name: p for name, p in heads.params.items()}
        if self.freeze_trunk:
            params |= _trunk(first)
        params["stage1"] = first.params["reward.weight"][0, :, 0]
        known = {**vars(first), "head": self, "reference": heads.reference, "params": params}
        model = FittedBrme(**known)
        record = {"stage1": first.record, **heads.record, "diagnostics": None}
        if problem.validation is not None:
            record["diagnostics"] = model.diagnose(problem.validation)
        return replace(model, record=record)

    def restore(self, state: State) -> FittedHead:
        """Rebuild a fitted model from its state."""
        return FittedBrme(**vars(super().restore(state)))


def _trunk(net: FittedNet) -> dict[str, Array]:
    return {name: p for name, p in net.params.items() if name != "reward.weight"}


@dataclass(frozen=True, kw_only=True)
class _FrozenTrunk(Brme):
    """Stage 2 on the output of a frozen trunk: one affine layer."""

    def parameters(self, width: int) -> dict[str, Init]:
        return dense("input", width, 2)

    def encode(self, params: Params, x: Tensor) -> Latent:
        return Latent(affine(params, "input", x))


@dataclass(frozen=True, eq=False)
class FittedBrme(FittedNet):
    """Fitted heads: `score` gives their μ as draws and their σ as `sigma`."""

    @property
    def _brme(self) -> Brme:
        assert isinstance(self.head, Brme)
        return self.head

    def score(self, features: Features | npt.ArrayLike, *, chunk: int = 4096) -> Reward:
        """Return μ and σ of every head; see `FittedHead.score`."""
        x = self._matrix(features)
        with torch.no_grad():
            params = self._tensors()
            parts = [
                self._brme.encode(params, tensor(x[start : start + chunk])).loc
                for start in range(0, max(len(x), 1), chunk)
            ]
            z = torch.cat(parts, dim=1)
            sigma = self._brme.sigma(z)
        return Reward(z[..., 0].cpu().numpy(), kind=self.kind, sigma=sigma.cpu().numpy(), reference=self.reference)

    def diagnose(self, pairs: Pairs, *, reward: npt.ArrayLike | None = None, level: float = 0.9) -> dict[str, float]:
        """Return what μ and σ are worth on pairs that were held out.

        Args:
            pairs: held-out pairs; their texts are looked at.
            reward: `(m,)` known reward of each row of the features, on any scale; None takes that of stage 1, which saw
                all training pairs and is none of the refits.
            level: nominal coverage of the interval for a difference of two rewards.

        Returns:
            "sigma_mean"; "sigma_sd", the spread of σ over texts; "sigma_at_floor", a share; "head_correlation", mean
            correlation of two heads' μ; "sigma_error_correlation", that of σ and |error|; "coverage", the share of
            pairs whose known difference lies inside Δμ ± q √(σ_w² + σ_l²).

        Raises:
            OptionError: `level` is not inside (0, 1).
        """
        if not 0 < level < 1:
            raise OptionError(f"level must be inside (0, 1), got {level}")
        rows = rows_of(pairs)
        features = pairs.features.take(rows)
        scored = self.score(features).centred()
        assert scored.sigma is not None
        known = self.latent(features) @ self.params["stage1"] if reward is None else np.asarray(reward)[rows]
        return diagnostics(
            scored.draws,
            scored.sigma,
            np.asarray(known, dtype=np.float64),
            chosen=np.searchsorted(rows, pairs.chosen),
            rejected=np.searchsorted(rows, pairs.rejected),
            floor=self._brme.sigma_floor,
            quantile=float(ndtri(0.5 + level / 2)),
        )

    def _tensors(self, member: slice = slice(None)) -> dict[str, Tensor]:
        return {name: tensor(array) for name, array in self.params.items() if name != "stage1"}

    def _latent(self, x: Array, member: int) -> Array:
        trunk = self._brme.trunk().encode(self._tensors(), tensor(x)).loc
        return np.asarray(trunk[min(member, len(trunk) - 1)].cpu().numpy())
