"""A mixture of small rewards, chosen among by the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from embrm.core.arrays import Array
from embrm.core.data import Features, Problem
from embrm.core.registry import register
from embrm.core.results import State
from embrm.core.views import CROSSED, LENGTH, parts
from embrm.errors import DataError, OptionError
from embrm.heads._head import FittedHead
from embrm.heads.gradient.head import FittedNet, GradientHead
from embrm.heads.gradient.latent import Latent
from embrm.heads.gradient.layers import Init, Params, affine, dense, tensor

PROMPT = "prompt"
THREE = {CROSSED: (PROMPT, "response", "product")}  # what stands side by side in the view "crossed"


@dataclass(frozen=True, eq=False)
class Gated(Latent):
    """Experts' activations, each times its gate.

    Attributes:
        gate: `(R, n, K)`, positive, of sum 1.
    """

    gate: Tensor


@register
@dataclass(frozen=True, kw_only=True)
class Experts(GradientHead):
    """A mixture of experts: K small rewards, and a softmax gate over them that reads the prompt.

    r = Σ_k g_k(p) w_kᵀ gelu(A_k e + b_k) with g = softmax(G p), p the columns of the prompt's vector: those of the part
    "prompt" where it stands in the view, as in "prompt+joint", and of "crossed" the first third. Any other view has no
    such columns; the gate then reads all of the text, so that both texts of a pair may have gates of their own. The
    gates start equal. The latent is the experts' activations, each times its gate; `gate` gives the gates alone.

    After the mixture of insightful experts of Liu et al. (MoTE, 2405.00557), of which the experts and their router are
    here. Left out, as it needs a language model: the chain of reasoning steps (each of which has an expert there), the
    adapters in the model's own layers, the expert that all steps share. An expert here is no step, and learns what it
    is for from preferences alone; as there, no loss balances the experts.

    Attributes:
        experts: K; 1 is a network with one hidden layer of the same width.
        hidden: width of each expert's layer; an `mlp` of equal size has hidden=(experts · hidden,).
    """

    rounds: ClassVar[bool] = True
    experts: int = 4
    hidden: int = 32
    learning_rate: float = 3e-3  # the gates share out each gradient

    def __post_init__(self) -> None:
        super().__post_init__()
        if min(self.experts, self.hidden) < 1:
            raise OptionError(f"experts and hidden must be >= 1, got {self.experts} and {self.hidden}")

    def space(self) -> Mapping[str, Sequence[Any]]:
        """Return step sizes, shrinkages and numbers of experts."""
        return {**super().space(), "experts": (2, 4, 8)}

    def prompt_columns(self, width: int) -> slice:
        """Return which of `width` columns the gate reads.

        Raises:
            DataError: the views side by side cannot all be of one width.
        """
        names = [name for part in parts(self.view) for name in THREE.get(part, (part,))]
        if PROMPT not in names:
            return slice(0, width)
        vectors = [name for name in names if name != LENGTH]
        each, rest = divmod(width - len(names) + len(vectors), len(vectors))
        if rest:
            raise DataError(
                f"the gate finds the prompt's columns where all vectors of the view '{self.view}' have one width, and "
                f"they have {width} columns together; embed them with one embedder"
            )
        start = sum(1 if name == LENGTH else each for name in names[: names.index(PROMPT)])
        return slice(start, start + each)

    def parameters(self, width: int) -> dict[str, Init]:
        """Return the layers' parameters; the last K columns of the input layer are the gate's."""
        k, h = self.experts, self.experts * self.hidden
        return dense("input", width, h + k, zeros=k) | dense("reward", h, 1, bias=False)

    def encode(self, params: Params, x: Tensor) -> Latent:
        """Return the gated activations of all experts; the gate's weights of other columns than its own are no part."""
        weight, k = params["input.weight"], self.experts
        mine = torch.zeros_like(weight[0])
        mine[:, :-k] = 1
        mine[self.prompt_columns(x.shape[-1]), -k:] = 1
        layer = {"input.weight": weight * mine, "input.bias": params["input.bias"]}
        out = affine(layer, "input", x)
        gate = torch.softmax(out[..., -k:], dim=-1)
        h = functional.gelu(out[..., :-k]).unflatten(-1, (k, self.hidden))
        return Gated((gate.unsqueeze(-1) * h).flatten(-2), gate)

    def decode(self, params: Params, z: Tensor) -> Tensor:
        """Return the sum of the experts' read-outs."""
        return affine(params, "reward", z).squeeze(-1)

    def report(self, latent: Latent) -> dict[str, Any]:
        """Return each expert's mean gate, and how many experts a text has: exp of the mean entropy of its gates."""
        assert isinstance(latent, Gated)
        entropy = torch.special.entr(latent.gate).sum(dim=-1).mean(dim=-1)
        return {"gates": latent.gate.mean(dim=1).tolist(), "experts_of_a_text": entropy.exp().tolist()}

    def fit_many(self, problems: Sequence[Problem]) -> list[FittedHead]:
        """Fit all problems together.

        Raises:
            DataError: views side by side are not of one width, so that the prompt's columns are not known.
        """
        for problem in problems:
            self._check(problem.pairs.features)
        return [FittedExperts.upon(net) for net in self.train(problems)]

    def _check(self, features: Features) -> None:
        names = parts(self.view)
        if PROMPT in names:
            widths = {name: features.rows(name).shape[1] for name in names if name not in (LENGTH, CROSSED)}
            if len(set(widths.values())) > 1:
                raise DataError(f"the gate needs vectors of one width to find those of the prompt, got {widths}")

    def restore(self, state: State) -> FittedHead:
        """Rebuild a fitted model from its state."""
        return FittedExperts.upon(self.restore_network(state))


@dataclass(frozen=True, eq=False)
class FittedExperts(FittedNet):
    """Fitted members, whose gates can be read."""

    @torch.no_grad()
    def gate(self, features: Features | npt.ArrayLike) -> Array:
        """Return the gates of each text `(members, n, K)`."""
        latent = self._network.encode(self._tensors(), tensor(self._matrix(features)[:]))
        assert isinstance(latent, Gated)
        return np.asarray(latent.gate.cpu().numpy())
