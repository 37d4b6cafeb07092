"""A device that is not the CPU, on any machine: its tensors meet no others, as on an accelerator.

A tensor `There` says that it lies on torch's device "lazy" and keeps its numbers in a CPU tensor. What fails on an
accelerator fails here: an operation on tensors of both places, and `.numpy()` without `.cpu()`. Products are made in
double precision and rounded, so that they round unlike the CPU's, as those of an accelerator do.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

PLACE = torch.device("lazy", 0)
aten = torch.ops.aten
MOVES = (aten._to_copy.default, aten.copy_.default)
PRODUCTS = (aten.mm.default, aten.bmm.default, aten.addmm.default, aten.baddbmm.default)


class There(Tensor):
    """A tensor elsewhere."""

    inner: Any  # a tensor; the base class has a method of that name

    @staticmethod
    def __new__(cls, inner: Tensor) -> There:
        out = torch.Tensor._make_wrapper_subclass(
            cls,
            inner.shape,
            strides=inner.stride(),
            storage_offset=inner.storage_offset(),
            dtype=inner.dtype,
            device=PLACE,
        )
        out.inner = inner
        return out

    def tolist(self) -> list[Any]:
        return list(self.inner.tolist())

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]  # torch's own has no types
        cls, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        return _run(func, args, kwargs or {})


class Elsewhere(TorchDispatchMode):
    """Makes the device exist inside a `with` block; counts matrix products there and here (on the CPU)."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.there = self.here = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func in PRODUCTS:
            if any(isinstance(a, There) for a in args):
                self.there += 1
            else:
                self.here += 1
        return _run(func, args, kwargs or {})


def _run(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    tensors = [t for t in tree_leaves((args, kwargs)) if isinstance(t, Tensor)]
    there = [t for t in tensors if isinstance(t, There)]
    here = [t for t in tensors if not isinstance(t, There) and t.dim()]  # an accelerator takes numbers from the CPU
    if there and here and func not in MOVES:
        raise RuntimeError(f"{func}: {[tuple(t.shape) for t in here]} lie on the CPU, others elsewhere")
    made_there = bool(there) if kwargs.get("device") is None else torch.device(kwargs["device"]).type == PLACE.type
    if made_there and "device" in kwargs:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    args_in, kwargs_in = tree_map_only(There, lambda t: t.inner, (args, kwargs))
    out = _rounded(func, args_in, kwargs_in) if made_there and func in PRODUCTS else func(*args_in, **kwargs_in)
    if func is aten.copy_.default:
        return args[0]
    if not made_there:
        return out
    known = {id(t.inner): t for t in there}  # in-place operations return what they were given
    return tree_map_only(Tensor, lambda t: known[id(t)] if id(t) in known else There(t), out)


def _rounded(func: Callable[..., Tensor], args: Any, kwargs: Any) -> Tensor:
    wide, wide_kwargs = tree_map_only(Tensor, lambda t: t.double(), (args, kwargs))
    return func(*wide, **wide_kwargs).to(args[0].dtype)
