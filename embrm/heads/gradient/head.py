"""What every gradient head is: options of training, an encoder, a decoder, and the fitted network."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import numpy as np
import torch
from torch import Tensor

from embrm.core.arrays import Array
from embrm.core.data import Candidates, Features, Pairs, Problem
from embrm.core.results import State
from embrm.errors import DataError
from embrm.heads._head import FittedHead, Head
from embrm.heads._principle import folded
from embrm.heads._remember import seen_in
from embrm.heads.gradient import loop
from embrm.heads.gradient.diversity import Seeds
from embrm.heads.gradient.flip_rate import estimate_flip_rate
from embrm.heads.gradient.layers import tensor
from embrm.heads.gradient.losses import BradleyTerry, FlipAware
from embrm.heads.gradient.network import Network
from embrm.heads.gradient.rows import RowSource
from embrm.heads.gradient.split import hold_out, targets


@dataclass(frozen=True, kw_only=True)
class GradientHead(Head, Network):
    """A head trained by gradient steps, all members and problems of one shape in one batch.

    `Training` says what each of its options does, and `Network` what a head of one's own gives: `parameters`, `encode`
    and `decode`. To a head that wraps it, it promises

    - `train`, which runs the one loop in one stage, from parameters that are given if need be, and returns the
      networks alone, without what `fit_many` of a head may add to them, such as masks; `restore_network` reads such a
      network back from its state, and its `refine` trains it further;
    - `parameters`, which names what is in a network's `params`, and `encode` and `decode`, which take those as tensors:
      `encode(params, x).loc` is what `latent` gives, and `decode` of that is what `score` gives;
    - that a copy with any option of `Training` changed (`dataclasses.replace`) has the same parameters.

    A wrapper calls nothing else of it, but for what every fitted head promises (see `FittedHead`).
    """

    @property
    def learns_steps(self) -> bool:
        """Whether the loss is "step"."""
        return self.loss.fixes_offset

    def space(self) -> Mapping[str, Sequence[Any]]:
        """Return step sizes and shrinkages; heads add what is their own."""
        return {"learning_rate": (3e-4, 1e-3, 3e-3), "weight_decay": (0.01, 0.1, 1.0)}

    def fit_many(self, problems: Sequence[Problem]) -> list[FittedHead]:
        """Fit all problems; those that share features and a number of steps are trained as one batch."""
        return list(self.train(problems))

    def train(
        self,
        problems: Sequence[Problem],
        *,
        start: Sequence[Mapping[str, Array]] | None = None,
        measured: bool = True,
    ) -> list[FittedNet]:
        """Run the training loop: what a head in several stages, or one that branches from another, is made of.

        Args:
            problems: what to fit.
            start: for each problem the parameters of a `FittedNet` to start from; None draws them.
            measured: whether the networks know the mean and the spread of their rewards on the training texts, which a
                network that is only a step to another need not: `reference` is 0 then.

        Raises:
            ConvergenceError: the loss stopped being finite.
            DataError: the flip rate must be estimated and no validation prompts exist, or pools are needed and missing.
        """
        learnt = loop.train(self, problems, flips=self._flip_rates(problems), start=start, measured=measured)
        return [FittedNet(head=self, **vars(each)) for each in learnt]

    def _flip_rates(self, problems: Sequence[Problem]) -> list[float]:
        """Return the flip rate of each problem: given, or estimated on validation prompts with a first fit of "bt"."""
        if not isinstance(self.loss, FlipAware):
            return [0.0] * len(problems)
        if self.loss.flip_rate is not None:
            return [self.loss.flip_rate] * len(problems)
        split = []
        for problem in problems:
            pairs, validation = hold_out(problem, fraction=self.validation_fraction, view=self.view)
            if validation is None:
                raise DataError(
                    "the flip rate is estimated on validation prompts, and there are none; give it, as in "
                    f"{type(self.loss).__name__}(flip_rate=0.1)"
                )
            split.append(Problem(pairs, problem.seed, validation=validation, pools=problem.pools))
        diversity = Seeds() if self.diversity.together else self.diversity
        plain = dataclasses.replace(self, loss=BradleyTerry(), members=1, diversity=diversity)
        rates = []
        for problem, model in zip(split, plain.train(split, measured=False), strict=True):
            assert problem.validation is not None
            reward = model.score(problem.validation.features).draws[0]
            weight, target, margin = targets(problem.validation)
            z = reward[problem.validation.chosen] - reward[problem.validation.rejected] - margin
            rates.append(estimate_flip_rate(z, weight=weight * (target == 1)).rate)
        return rates

    def restore(self, state: State) -> FittedHead:
        """Rebuild a fitted model from its state."""
        return self.restore_network(state)

    def restore_network(self, state: State) -> FittedNet:
        """Rebuild what `train` gave from its state."""
        width = state.config["width"]
        shapes = {name: init.shape for name, init in self.parameters(width).items()}
        return FittedNet(
            head=self,
            width=width,
            embedder=state.config["embedder"],
            reference=state.array("reference", None),
            record=state.config["record"],
            params={name: state.array(name, self.members, *shape) for name, shape in shapes.items()},
        )


@dataclass(frozen=True, eq=False)
class FittedNet(FittedHead):
    """Fitted members of a gradient head.

    Attributes:
        params: name → `(members, ...)` float32; the scaling of the features is folded into the input layer.
    """

    params: dict[str, Array]

    @classmethod
    def upon(cls, net: FittedNet, **more: Any) -> Self:
        """Return a model of this class with the fields of a network, and more or others."""
        return cls(**{field.name: getattr(net, field.name) for field in dataclasses.fields(net)} | more)

    @property
    def _network(self) -> GradientHead:
        """The network that scores: the recipe's own, unless a subclass says otherwise."""
        assert isinstance(self.head, GradientHead)
        return self.head

    def _tensors(self, member: slice = slice(None)) -> dict[str, Tensor]:
        return {name: tensor(array[member]) for name, array in self.params.items()}

    def _view(self, features: Features) -> Array:
        return cast("Array", RowSource.of(features, self.head.view))  # rows are made when a chunk asks for them

    @torch.no_grad()
    def _draws(self, x: Array) -> Array:
        params = self._tensors()
        latent = self._network.encode(params, tensor(x))
        return np.asarray(self._network.decode(params, latent.loc).cpu().numpy())

    def _under(self, principle: Array) -> FittedHead:
        if not (self._network.rounds and self._network is self.head):  # it is not one layer that reads the features
            return super()._under(principle)
        view, weight, added = folded(self.head.view, self.params["input.weight"], principle)
        params = {**self.params, "input.weight": weight, "input.bias": self.params["input.bias"] + added}
        return dataclasses.replace(
            self, head=dataclasses.replace(self.head, view=view), width=weight.shape[1], params=params
        )

    @torch.no_grad()
    def _latent(self, x: Array, member: int) -> Array:
        latent = self._network.encode(self._tensors(slice(member, member + 1)), tensor(x))
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

        Pessimistic fine-tuning is `model.refine(pairs, seed=0, pools=pools, pessimism="pools", learning_rate=1e-4)`.
        """
        head = dataclasses.replace(self._network, **options)
        problem = Problem(pairs, seed, validation=validation, pools=pools)
        net, seen = head.train([problem], start=[self.params])[0], seen_in(problem)
        both = seen | self.seen if seen is not None and self.seen is not None else seen or self.seen
        return dataclasses.replace(net, seen=both)
