"""The parameters of a block of replicates, in one piece of memory, and their steps of AdamW."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.optim.adamw import adamw

BETAS, EPSILON = (0.9, 0.999), 1e-8  # of Adam, as torch has them


class Parameters:
    """Parameters of `R` replicates, trained by AdamW.

    All of them lie in one vector, weights first, so that a step is one call however many layers a network has.

    Attributes:
        values: name → `(R, ...)`, views of the vector, for features that are standardised.
        each: numbers of one replicate.
    """

    def __init__(self, start: Mapping[str, Tensor]) -> None:
        """Take the starts, `(R, ...)` each."""
        ordered = sorted(start, key=lambda name: not name.endswith("weight"))  # those that shrink, then the others
        self._shapes = [start[name].shape for name in ordered]
        self._weights = sum(value.numel() for name, value in start.items() if name.endswith("weight"))
        self._vector = torch.cat([start[name].reshape(-1) for name in ordered])
        self.each = len(self._vector) // len(start[ordered[0]])
        parts = dict(zip(ordered, self._parts(self._vector), strict=True))
        self.values = {name: parts[name].requires_grad_() for name in start}
        self._in_order = [self.values[name] for name in ordered]
        self._gradient, self._mean, self._square = (torch.zeros_like(self._vector) for _ in range(3))
        self._count = torch.zeros((), device=self._vector.device)

    def _parts(self, vector: Tensor) -> list[Tensor]:
        """Return each parameter's part of a vector that is laid out like theirs."""
        sizes = [shape.numel() for shape in self._shapes]
        return [part.view(shape) for part, shape in zip(vector.split(sizes), self._shapes, strict=True)]

    @torch.no_grad()
    def take(self, replicates: Tensor) -> Parameters:
        """Return the parameters of some replicates, with what AdamW knows of them."""
        out = Parameters({name: value[replicates] for name, value in self.values.items()})
        out._mean, out._square = (
            torch.cat([part[replicates].reshape(-1) for part in self._parts(vector)])
            for vector in (self._mean, self._square)
        )
        out._count = self._count
        return out

    @torch.no_grad()
    def folded(self, mean: Tensor, inverse: Tensor) -> dict[str, Tensor]:
        """Return the parameters for features as they come, of mean and inverse standard deviation `(R, d)`."""
        weight = inverse[:, :, None] * self.values["input.weight"]
        bias = torch.baddbmm(self.values["input.bias"][:, None], mean[:, None], weight, alpha=-1).squeeze(1)
        return {**self.values, "input.weight": weight, "input.bias": bias}

    @torch.no_grad()
    def step(self, loss: Tensor, *, learning_rate: float, weight_decay: float) -> None:
        """Take a step of AdamW down the loss; biases do not shrink."""
        found = torch.autograd.grad(loss, self._in_order)
        torch.cat([gradient.reshape(-1) for gradient in found], out=self._gradient)
        if weight_decay:
            self._vector[: self._weights].mul_(1 - learning_rate * weight_decay)
        adamw(
            [self._vector],
            [self._gradient],
            [self._mean],
            [self._square],
            max_exp_avg_sqs=[],
            state_steps=[self._count],
            fused=True,
            amsgrad=False,
            maximize=False,
            lr=learning_rate,
            weight_decay=0.0,
            beta1=BETAS[0],
            beta2=BETAS[1],
            eps=EPSILON,
        )


def annealed(learning_rate: float, *, done: int, steps: int) -> float:
    """Return the step size after so many of all steps: half a cosine from its peak to zero."""
    return 0.5 * learning_rate * (1 + math.cos(math.pi * done / steps))
