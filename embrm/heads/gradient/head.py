"""What every gradient head is: options of training, an encoder, a decoder, and the fitted network."""

from __future__ import annotations

import dataclasses
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np
import torch
from torch import Tensor

from embrm.core.arrays import Array
from embrm.core.data import Candidates, Features, Pairs, Problem
from embrm.core.results import State
from embrm.errors import DataError, OptionError
from embrm.heads._head import FittedHead, Head
from embrm.heads.gradient import loop
from embrm.heads.gradient.flip_rate import estimate_flip_rate
from embrm.heads.gradient.latent import Latent
from embrm.heads.gradient.losses import LOSSES, NEED_FLIP_RATE, preference_loss
from embrm.heads.gradient.network import Batch, Init, Params, tensor
from embrm.heads.gradient.rows import CROSSED, RowSource
from embrm.heads.gradient.split import hold_out, targets


@dataclass(frozen=True, kw_only=True)
class GradientHead(Head):
    """A head trained by gradient steps, all members and problems of one shape in one batch.

    Attributes:
        members: how many reward models to train; each has its own initialisation, order and noise.
        diversity: "seed" gives all members the same pairs, "bootstrap" each its own bootstrap over prompts.
        epochs: the most passes over the pairs.
        batch_size: pairs a step.
        learning_rate: peak step size of AdamW, annealed to zero over the epochs along a cosine.
        weight_decay: AdamW's decoupled shrinkage of the weights (biases are left alone).
        patience: epochs without a better validation loss before a member stops; the best epoch is kept. 0 trains all
            epochs and keeps the last.
        validation_fraction: share of the pairs, by prompt, held out for early stopping where no validation is given.
        loss: what a pair costs, see `preference_loss` for the formulas; "bt" is Bradley–Terry, "classify" tells
            winners from losers one by one.
        flip_rate: ε of "smoothed" and "rdpo"; None estimates it on validation prompts with a first fit of "bt".
        clip: bound of the margins of "rdpo" and of the rewards of "unhinged".
        extra_margin: m of "margin", by how much every chosen reward should exceed the rejected one.
        centre: weight of (r_w + r_l)², which fixes the free offset of a preference likelihood.
        reweight: "instance" weighs each pair by exp(loss / temperature) within its batch (KL-penalised
            distributionally robust optimisation). It lifts hard pairs, and flipped labels with them.
        temperature: τ of the instance weights; small looks at the worst pairs alone.
        augment: "rrm" adds pairs in which chosen and rejected of a prompt both beat the response to another prompt
            (Liu et al. 2409.13156), so that the reward must read the prompt; needs `view="crossed"`.
        rank_bonus: λ of UP-RLHF (2401.00243), which pays for members whose stacked input layers A have a large
            ‖A‖_*/‖A‖_F; the likelihood is then that of the members' mean reward, and they share their batches.
        pessimism: c of PET (2505.20556), the price of r(own best of n) − r(mean response) on the problem's pools.
        pool_draws: n of that best-of-n.
    """

    members: int = 1
    diversity: Literal["seed", "bootstrap"] = "seed"
    epochs: int = 20
    batch_size: int = 256
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    patience: int = 3
    validation_fraction: float = 0.15
    loss: Literal["bt", "classify", "smoothed", "rdpo", "symmetric", "unhinged", "margin"] = "bt"
    flip_rate: float | None = None
    clip: float = 10.0
    extra_margin: float = 1.0
    centre: float = 0.01
    reweight: Literal["none", "instance"] = "none"
    temperature: float = 1.0
    augment: Literal["none", "rrm"] = "none"
    rank_bonus: float = 0.0
    pessimism: float = 0.0
    pool_draws: int = 8

    def __post_init__(self) -> None:
        for name in ("members", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be >= 1, got {getattr(self, name)}")
        for name in ("learning_rate", "weight_decay", "patience", "centre", "extra_margin", "rank_bonus", "pessimism"):
            if not getattr(self, name) >= 0:
                raise OptionError(f"{name} must be >= 0, got {getattr(self, name)}")
        for name in ("clip", "temperature"):
            if not getattr(self, name) > 0:
                raise OptionError(f"{name} must be > 0, got {getattr(self, name)}")
        if not 0 < self.validation_fraction < 1:
            raise OptionError(f"validation_fraction must be inside (0, 1), got {self.validation_fraction}")
        if self.flip_rate is not None and not 0 <= self.flip_rate < 0.5:
            raise OptionError(f"flip_rate must be inside [0, 0.5) (or None to estimate it), got {self.flip_rate}")
        known = {
            "diversity": ("seed", "bootstrap"),
            "loss": LOSSES,
            "reweight": ("none", "instance"),
            "augment": ("none", "rrm"),
        }
        for name, values in known.items():
            if getattr(self, name) not in values:
                raise OptionError(f"{name} must be one of {', '.join(values)}, got '{getattr(self, name)}'")
        self._check_together()

    def _check_together(self) -> None:
        if self.pool_draws < 2:
            raise OptionError(f"pool_draws must be >= 2, got {self.pool_draws}")
        if self.augment == "rrm" and self.view != CROSSED:
            raise OptionError(
                f"augment 'rrm' moves responses between prompts, which needs them apart, got view '{self.view}'; "
                "pass view='crossed'"
            )
        if self.rank_bonus and (self.members < 2 or self.diversity != "seed"):
            raise OptionError(
                f"rank_bonus compares members that see the same pairs, got members={self.members} and "
                f"diversity='{self.diversity}'; pass members=5, diversity='seed'"
            )

    @abstractmethod
    def parameters(self, width: int) -> dict[str, Init]:
        """Return one replicate's parameters; the layer that reads the features is named "input"."""

    @abstractmethod
    def encode(self, params: Params, x: Tensor) -> Latent:
        """Return the latent of features `(R, n, d)` or shared `(n, d)`."""

    @abstractmethod
    def decode(self, params: Params, z: Tensor) -> Tensor:
        """Return rewards `(R, n)` of latents `(R, n, k)`.

        No constant is added to a reward: no preference identifies it, its gradient is rounding noise, and Adam would
        scale that noise up to full steps.
        """

    def noise_shape(self, texts: int) -> tuple[int, int]:
        """Return the shape of the noise that a stochastic latent of so many texts reads."""
        return (0, 0)

    def kl_scale(self) -> float:
        """Return the weight of KL(q‖prior), summed over a pair's two texts, in a pair's loss; 0 turns it off."""
        return 0.0

    def pair_numbers(self, pairs: Pairs) -> Array:
        """Return further numbers `(c, n)` of the pairs, which arrive in the batches as `extra`."""
        return np.empty((0, len(pairs)))

    def preference(self, params: Params, z: Tensor, reward: Tensor, batch: Batch) -> Tensor:
        """Return the loss of each pair `(R, B)` from latents `(R, 2B, k)` and rewards, in training and validation."""
        return preference_loss(self, reward, batch)

    def extra_loss(self, params: Params, latent: Latent, z: Tensor, batch: Batch) -> Tensor | None:
        """Return a further loss `(R,)` of a batch, in training alone, or None."""
        return None

    def report(self, latent: Latent) -> dict[str, Any]:
        """Return diagnostics of the fitted members on training texts, JSON-ready."""
        return {}

    def space(self) -> Mapping[str, Sequence[Any]]:
        """Return step sizes and shrinkages; heads add what is their own."""
        return {"learning_rate": (3e-4, 1e-3, 3e-3), "weight_decay": (0.01, 0.1, 1.0)}

    def fit_many(self, problems: Sequence[Problem]) -> list[FittedHead]:
        """Fit all problems; those that share features and a number of steps are trained as one batch."""
        return list(self.train(problems))

    def train(
        self, problems: Sequence[Problem], *, start: Sequence[Mapping[str, Array]] | None = None
    ) -> list[FittedNet]:
        """Run the training loop: what a head in several stages, or one that branches from another, is made of.

        Args:
            problems: what to fit.
            start: for each problem the parameters of a `FittedNet` to start from; None draws them.

        Raises:
            ConvergenceError: the loss stopped being finite.
            DataError: the flip rate must be estimated and no validation prompts exist, or pools are needed and missing.
        """
        learnt = loop.train(self, problems, flips=self._flip_rates(problems), start=start)
        return [FittedNet(head=self, **vars(each)) for each in learnt]

    def _flip_rates(self, problems: Sequence[Problem]) -> list[float]:
        """Return the flip rate of each problem: given, or estimated on validation prompts with a first fit of "bt"."""
        if self.loss not in NEED_FLIP_RATE or self.flip_rate is not None:
            return [self.flip_rate or 0.0] * len(problems)
        split = []
        for problem in problems:
            pairs, validation = hold_out(problem, fraction=self.validation_fraction, view=self.view)
            if validation is None:
                raise DataError(
                    "the flip rate is estimated on validation prompts, and there are none; pass flip_rate=0.1"
                )
            split.append(Problem(pairs, problem.seed, validation=validation, pools=problem.pools))
        plain = dataclasses.replace(self, loss="bt", members=1, rank_bonus=0.0)
        rates = []
        for problem, model in zip(split, plain.train(split), strict=True):
            assert problem.validation is not None
            reward = model.score(problem.validation.features).draws[0]
            weight, target, margin = targets(problem.validation)
            z = reward[problem.validation.chosen] - reward[problem.validation.rejected] - margin
            rates.append(estimate_flip_rate(z, weight=weight * (target == 1)).rate)
        return rates

    def restore(self, state: State) -> FittedHead:
        """Rebuild a fitted model from its state."""
        arrays = dict(state.arrays)
        return FittedNet(
            head=self,
            width=state.config["width"],
            embedder=state.config["embedder"],
            reference=arrays.pop("reference"),
            record=state.config["record"],
            params=arrays,
        )


@dataclass(frozen=True, eq=False)
class FittedNet(FittedHead):
    """Fitted members of a gradient head.

    Attributes:
        params: name → `(members, ...)` float32; the scaling of the features is folded into the input layer.
    """

    params: dict[str, Array]

    @property
    def _recipe(self) -> GradientHead:
        assert isinstance(self.head, GradientHead)
        return self.head

    def _tensors(self, member: slice = slice(None)) -> dict[str, Tensor]:
        return {name: tensor(array[member]) for name, array in self.params.items()}

    def _view(self, features: Features) -> Array:
        return cast("Array", RowSource.of(features, self.head.view))  # rows are made when a chunk asks for them

    @torch.no_grad()
    def _draws(self, x: Array) -> Array:
        params = self._tensors()
        latent = self._recipe.encode(params, tensor(x))
        return np.asarray(self._recipe.decode(params, latent.loc).cpu().numpy())

    @torch.no_grad()
    def _latent(self, x: Array, member: int) -> Array:
        latent = self._recipe.encode(self._tensors(slice(member, member + 1)), tensor(x))
        return np.asarray(latent.loc[0].cpu().numpy())

    def arrays(self) -> dict[str, Array]:
        """Return the parameters of all members."""
        return self.params

    def refine(
        self,
        pairs: Pairs,
        *,
        seed: int,
        validation: Pairs | None = None,
        pools: Candidates | None = None,
        **options: Any,
    ) -> FittedNet:
        """Return the model trained further, from where it stands, with the given options changed.

        Pessimistic fine-tuning is `model.refine(pairs, seed=0, pools=pools, pessimism=0.1, learning_rate=1e-4)`.
        """
        head = dataclasses.replace(self._recipe, **options)
        return head.train([Problem(pairs, seed, validation=validation, pools=pools)], start=[self.params])[0]
