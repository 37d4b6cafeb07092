"""In which precision the layer that reads the features multiplies while a head is trained."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from embrm.errors import OptionError

VARIABLE = "EMBRM_TRAINING_PRECISION"
CHOICES = ("auto", "float32", "bfloat16")
WORTH = 0.7  # share of float32's time that bfloat16 may take to be chosen
TEXTS, WIDTH, HIDDEN = 512, 384, 128  # of the product that is timed
SMALLEST = 1 << 14  # weights of a layer that repays the rounding of its inputs


def input_dtype(device: torch.device, *, width: int, hidden: int) -> torch.dtype:
    """Return the type that standardised features have in a step.

    Processors with a matrix unit multiply numbers of bfloat16 several times as fast; most others do not, so it is
    measured, once in a process. Sums, the other layers, validation and scoring stay in float32. The environment's
    EMBRM_TRAINING_PRECISION, one of "auto", "float32" and "bfloat16", decides instead.

    Raises:
        OptionError: the variable holds none of these.
    """
    choice = os.environ.get(VARIABLE) or "auto"
    if choice not in CHOICES:
        raise OptionError(f"{VARIABLE} must be one of {', '.join(CHOICES)}, got '{choice}'")
    if choice == "float32" or device.type != "cpu" or width * hidden < SMALLEST:
        return torch.float32
    return torch.bfloat16 if choice == "bfloat16" or _pays() else torch.float32


@contextmanager
def settled() -> Iterator[None]:
    """Measure here what "auto" stands for, and let processes that are started in a `with` block keep to it."""
    before = os.environ.get(VARIABLE)
    if (before or "auto") == "auto":
        os.environ[VARIABLE] = "bfloat16" if _pays() else "float32"
    try:
        yield
    finally:
        os.environ.pop(VARIABLE, None)
        if before is not None:
            os.environ[VARIABLE] = before


@functools.cache
def _pays() -> bool:
    x, gradient = torch.ones(1, TEXTS, WIDTH), torch.ones(1, TEXTS, HIDDEN)
    weight, bias, rounded = torch.ones(1, WIDTH, HIDDEN), torch.zeros(1, HIDDEN), x.bfloat16()

    def plain() -> None:
        torch.baddbmm(bias[:, None], x, weight)
        torch.bmm(x.transpose(1, 2), gradient)

    def fast() -> None:
        product(rounded, weight, bias)
        weight_gradient(rounded, gradient)

    best = [min(_seconds(way) for _ in range(9)) for way in (plain, fast)]
    return best[1] < WORTH * best[0]


def _seconds(way: Callable[[], None]) -> float:
    start = time.thread_time()
    way()
    return time.thread_time() - start


def product(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Return x · weight + bias in float32, of `x (R, n, a)` in bfloat16 and float32 weights."""
    return torch.bmm(x, weight.bfloat16()).float().add_(bias[:, None])


def weight_gradient(x: Tensor, gradient: Tensor) -> Tensor:
    """Return xᵀ · gradient in float32, of `x (R, n, a)` in bfloat16 and a float32 gradient `(R, n, b)`."""
    return torch.bmm(x.transpose(1, 2), gradient.bfloat16()).float()


class RoundedAffine(torch.autograd.Function):
    """x · weight + bias of features in bfloat16, which get no gradient."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        """Return `(R, n, b)` in float32."""
        ctx.save_for_backward(x)
        return product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[None, Tensor, Tensor]:
        """Return the gradients of weight and bias."""
        (x,), (gradient,) = ctx.saved_tensors, gradients
        return None, weight_gradient(x, gradient), gradient.sum(dim=1)
