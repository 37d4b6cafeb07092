"""What networks are made of: parameters with a leading replicate axis, affine layers, batches of pairs.

All tensors are batched over replicates `R` (members of an ensemble, seeds, noise levels, bootstraps): features are
`(R, n, d)` or, when all replicates read the same rows, `(n, d)`; latents `(R, n, k)`; rewards `(R, n)`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from embrm.core.arrays import Array
from embrm.core.device import torch_device
from embrm.heads.gradient.precision import RoundedAffine

Params = Mapping[str, Tensor]


class Init(NamedTuple):
    """Shape of one replicate's parameter, the bound of its uniform start, and how many last columns start at zero."""

    shape: tuple[int, ...]
    bound: float
    zeros: int = 0


def dense(name: str, fan_in: int, fan_out: int, *, bias: bool = True, zeros: int = 0) -> dict[str, Init]:
    """Return the parameters of one affine layer, initialised as torch's Linear but for `zeros` last outputs."""
    bound = 1 / math.sqrt(fan_in)
    out = {f"{name}.weight": Init((fan_in, fan_out), bound, zeros)}
    return out | {f"{name}.bias": Init((fan_out,), bound, zeros)} if bias else out


def tensor(x: Array) -> Tensor:
    """Return numbers as a tensor on the device in use."""
    return torch.from_numpy(x).to(torch_device())


def affine(params: Params, name: str, x: Tensor) -> Tensor:
    """Apply one affine layer: `x (R, n, a)` or shared `(n, a)` → `(R, n, b)`."""
    weight, bias = params[f"{name}.weight"], params.get(f"{name}.bias")
    if x.dim() == 2:  # one product for all replicates
        replicates, fan_in, fan_out = weight.shape
        flat = x @ weight.permute(1, 0, 2).reshape(fan_in, replicates * fan_out)
        out = flat.view(len(x), replicates, fan_out).transpose(0, 1)
        return out if bias is None else out + bias[:, None, :]
    if x.dtype == torch.bfloat16 and bias is not None:
        rounded: Tensor = RoundedAffine.apply(x, weight, bias)  # type: ignore[no-untyped-call]
        return rounded
    return torch.bmm(x, weight) if bias is None else torch.baddbmm(bias[:, None, :], x, weight)


class Batch(NamedTuple):
    """Numbers of the pairs of a step.

    Attributes:
        weight, target, margin: `(R, B)` or shared `(B,)`; the target is 1, or 0.5 for a tie. Of `StepPairs` target and
            margin are the labels of the two texts, -1 where there is none.
        extra: `(c, R, B)` or `(c, B)` what the head's `pair_numbers` gave.
        flip: `(R, 1)` share of the labels that are taken to be flipped.
    """

    weight: Tensor
    target: Tensor
    margin: Tensor
    extra: Tensor
    flip: Tensor
