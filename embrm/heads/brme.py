"""The Bayesian reward-model ensemble of Reward-Robust RLHF."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import ndtri
from torch import Tensor

from embrm.core.arrays import Array
from embrm.core.data import Features, Pairs, Problem
from embrm.core.registry import register
from embrm.core.results import Reward, State
from embrm.errors import OptionError
from embrm.heads._brme import diagnostics, second_problems
from embrm.heads._head import FittedHead, Head
from embrm.heads._readouts import (
    CAP,
    GaussianNll,
    MarginalBt,
    OnRefits,
    ReadOuts,
    SampledMse,
    Stage2,
    TrunkAndReadOuts,
)
from embrm.heads.gradient.diversity import Bootstraps, Diversity
from embrm.heads.gradient.head import FittedNet
from embrm.heads.gradient.layers import tensor
from embrm.heads.gradient.rows import RowSource
from embrm.heads.gradient.split import hold_out
from embrm.heads.gradient.training import JOINT
from embrm.heads.mlp import Mlp

__all__ = ["Brme", "FittedBrme", "GaussianNll", "MarginalBt", "SampledMse", "Stage2"]

SPREAD = 0.3  # of the heads' starts around the read-out of stage 1, as a share of it
READOUT_RATE = 1e-2  # of read-outs on a frozen trunk, which stand larger steps than a network


@register
@dataclass(frozen=True, kw_only=True)
class Brme(Head):
    """Heads that each state a mean and a standard deviation of the reward, on one trunk (Reward-Robust RLHF).

    Stage 1 trains trunk and one Bradley–Terry head; stage 2 the `members` heads, each with a bootstrap over prompts
    and an initialisation of its own (2409.15360). The source gives an MSE loss for stage 2 and neither its target nor
    whether the trunk is frozen, so both are options, and the defaults are a reconstruction. `score` gives each head's μ
    as draws and its σ as `sigma`; the rules `robust` and `worst_case` make nominal, robust and mixed rewards of them.
    The record holds diagnostics on held-out pairs, see `diagnose`. The latent is the trunk's last layer.

    Attributes:
        trunk: stage 1, an "mlp" with one member. Stage 2 is trained for as many epochs, in batches as large, and with
            the shrinkage, patience and weighting of pairs that the trunk has.
        members: how many heads.
        diversity: "bootstrap" gives each head its own bootstrap over prompts, "seed" all the same pairs.
        stage2: what the heads are fitted to. "gaussian_nll" fits N(μ, σ²) to the rewards of bootstrap refits of stage
            1; "marginal_bt" fits the labels; "sampled_mse" is literal, and its σ collapses to the floor everywhere, so
            that "the head with the smallest σ" is noise. Their classes, in `embrm.heads.brme`, say more.
        freeze_trunk: whether the trunk stays as stage 1 left it; else each head continues its own copy of it.
        learning_rate: peak step size of stage 2; None is 0.01 on a frozen trunk, and else that of the trunk.
        sigma_floor: smallest σ.
    """

    trunk: Head = field(default_factory=Mlp)
    members: int = 5
    diversity: Literal["seed", "bootstrap"] = "bootstrap"
    stage2: Stage2 = field(default_factory=GaussianNll)
    freeze_trunk: bool = True
    learning_rate: float | None = None
    sigma_floor: float = 1e-3

    def __post_init__(self) -> None:
        object.__setattr__(self, "stage2", Stage2.of(self.stage2))
        if not isinstance(self.trunk, Mlp) or self.trunk.members != 1:
            raise OptionError(f"trunk must be an 'mlp' with members=1, got {self.trunk}")
        if self.view not in (JOINT, self.trunk.view):
            object.__setattr__(self, "trunk", replace(self.trunk, view=self.view))
        object.__setattr__(self, "view", self.trunk.view)
        if self.diversity not in ("seed", "bootstrap"):
            raise OptionError(f"diversity must be seed or bootstrap, got '{self.diversity}'")
        if self.members < 1 or not (self.learning_rate is None or self.learning_rate >= 0):
            raise OptionError(
                f"members must be >= 1 and learning_rate >= 0 or None, got {self.members} and {self.learning_rate}"
            )
        if not 0 < self.sigma_floor < CAP:
            raise OptionError(f"sigma_floor must be inside (0, {CAP:g}), got {self.sigma_floor}")

    @property
    def _stage1(self) -> Mlp:
        assert isinstance(self.trunk, Mlp)
        return self.trunk

    def space(self) -> Mapping[str, Sequence[Any]]:
        """Return the space of the trunk."""
        return {f"trunk.{name}": values for name, values in self.trunk.space().items()}

    def network(self) -> TrunkAndReadOuts:
        """Return the network of trunk and heads, with the options of stage 2."""
        trunk = self._stage1
        regression = isinstance(self.stage2, OnRefits)
        return TrunkAndReadOuts(
            view=trunk.view,
            members=self.members,
            diversity=Diversity.of(self.diversity),
            epochs=trunk.epochs,
            batch_size=trunk.batch_size,
            learning_rate=trunk.learning_rate if self.learning_rate is None else self.learning_rate,
            weight_decay=trunk.weight_decay,
            patience=trunk.patience,
            validation_fraction=trunk.validation_fraction,
            centre=0.0 if regression else trunk.centre,  # rewards to regress on have an offset
            reweight=trunk.reweight,
            stage2=self.stage2,
            sigma_floor=self.sigma_floor,
            trunk=trunk,
        )

    def _readouts(self) -> ReadOuts:
        """Return the recipe of stage 2 on a frozen trunk."""
        whole = self.network()
        shared = {f.name: getattr(whole, f.name) for f in fields(ReadOuts)}
        rate = READOUT_RATE if self.learning_rate is None else self.learning_rate
        return ReadOuts(**shared | {"view": "trunk", "learning_rate": rate})

    def fit_many(self, problems: Sequence[Problem]) -> list[FittedHead]:
        """Fit stage 1 of all problems together, then stage 2."""
        trunk = self._stage1
        split = []
        for problem in problems:
            pairs, validation = hold_out(problem, fraction=trunk.validation_fraction, view=self.view)
            split.append(replace(problem, pairs=pairs, validation=validation))
        first = trunk.train(split)
        refits: Sequence[FittedNet | None] = [None] * len(split)
        if isinstance(self.stage2, OnRefits):
            bootstrapped = replace(trunk, members=self.stage2.refits, diversity=Bootstraps())
            refits = bootstrapped.train(split, measured=False)
        stage2 = second_problems(split, first, refits, frozen=self.freeze_trunk)
        recipe = self._readouts() if self.freeze_trunk else self.network()
        starts = [self._start(*each) for each in zip(stage2, first, strict=True)]
        heads = recipe.train(stage2, start=starts)
        return [self._join(*each) for each in zip(split, first, heads, strict=True)]

    def _start(self, problem: Problem, net: FittedNet) -> dict[str, Array]:
        """Return the parameters that stage 2 starts from, `(members, ...)`.

        Each head starts somewhere around the reward of stage 1, brought to the scale of the targets, and at one σ.
        """
        readout, shift = net.params["reward.weight"], 0.0
        if isinstance(self.stage2, MarginalBt):
            sigma = self.stage2.prior
        else:
            target = problem.pairs.features.matrix("target")[problem.pairs.rows]
            # Texts that are all alike have one reward, whose scale says nothing.
            ratio = float(target[:, 0].std()) / net.record["sd"][0] if net.record["sd"][0] > 0 else 1.0
            sigma = max(float(np.sqrt(target[:, 1].mean())), 1e-2)
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
        model = FittedBrme(
            head=self,
            width=first.width,
            embedder=first.embedder,
            reference=heads.reference,
            record={"stage1": first.record, **heads.record, "diagnostics": None},
            params=params,
            stage1=first.params["reward.weight"][0, :, 0],
        )
        if problem.validation is None:
            return model
        return replace(model, record=model.record | {"diagnostics": model.diagnose(problem.validation)})

    def restore(self, state: State) -> FittedHead:
        """Rebuild a fitted model from its state."""
        width = state.config["width"]
        shapes = {name: init.shape for name, init in self.network().parameters(width).items()}
        return FittedBrme(
            head=self,
            width=width,
            embedder=state.config["embedder"],
            record=state.config["record"],
            reference=state.array("reference", self.members),
            stage1=state.array("stage1", None),
            params={name: state.array(name, None, *shape) for name, shape in shapes.items()},
        )


def _trunk(net: FittedNet) -> dict[str, Array]:
    return {name: p for name, p in net.params.items() if name != "reward.weight"}


@dataclass(frozen=True, eq=False)
class FittedBrme(FittedHead):
    """Fitted heads: `score` gives their μ as draws and their σ as `sigma`.

    Attributes:
        params: those of trunk and heads, name → `(members, ...)` float32, or `(1, ...)` of a trunk that all share.
        stage1: `(k,)` the read-out of stage 1.
    """

    params: dict[str, Array]
    stage1: Array

    @property
    def _network(self) -> TrunkAndReadOuts:
        assert isinstance(self.head, Brme)
        return self.head.network()

    def score(self, features: Features | npt.ArrayLike, *, chunk: int = 4096) -> Reward:
        """Return μ and σ of every head; see `FittedHead.score`."""
        x = self._matrix(features)
        parts = [self._encode(x[start : start + chunk]) for start in range(0, max(len(x), 1), chunk)]
        z = torch.cat(parts, dim=1)
        mu, sigma = z[..., 0].cpu().numpy(), self._network.sigma(z).cpu().numpy()
        return Reward(mu, kind=self.kind, sigma=sigma, reference=self.reference)

    @torch.no_grad()
    def _encode(self, x: Array) -> Tensor:
        """Return μ and the raw σ of one chunk, `(members, rows, 2)`."""
        return self._network.encode(self._tensors(), tensor(x)).loc

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
        rows = pairs.rows
        features = pairs.features.take(rows)
        scored = self.score(features).centred()
        assert scored.sigma is not None
        known = self.latent(features) @ self.stage1 if reward is None else np.asarray(reward)[rows]
        return diagnostics(
            scored.draws,
            scored.sigma,
            np.asarray(known, dtype=np.float64),
            chosen=np.searchsorted(rows, pairs.chosen),
            rejected=np.searchsorted(rows, pairs.rejected),
            floor=self._network.sigma_floor,
            quantile=float(ndtri(0.5 + level / 2)),
        )

    def _view(self, features: Features) -> Array:
        return cast("Array", RowSource.of(features, self.head.view))  # rows are made when a chunk asks for them

    def _tensors(self) -> dict[str, Tensor]:
        return {name: tensor(array) for name, array in self.params.items()}

    def _draws(self, x: Array) -> Array:
        return np.asarray(self._encode(x)[..., 0].cpu().numpy())

    @torch.no_grad()
    def _latent(self, x: Array, member: int) -> Array:
        trunk = self._network.trunk.encode(self._tensors(), tensor(x)).loc
        return np.asarray(trunk[min(member, len(trunk) - 1)].cpu().numpy())

    def arrays(self) -> dict[str, Array]:
        """Return the parameters and the read-out of stage 1."""
        return {**self.params, "stage1": self.stage1}
