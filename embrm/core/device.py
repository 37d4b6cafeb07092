"""Where gradient heads compute: one setting of the process, so that no recipe and no saved model names a machine."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from embrm.errors import OptionError

if TYPE_CHECKING:
    import torch

DEVICES = ("auto", "cpu", "cuda", "mps")
VARIABLE = "EMBRM_DEVICE"  # the setting itself, so that worker processes inherit it


@contextmanager
def use_device(name: str) -> Iterator[None]:
    """Let gradient heads fit and score on a device inside a `with` block.

    Everything random is drawn on the CPU and then moved, so the same seed gives the same reward on every device, to
    1e-3 of its standard deviation. Outside of such a block the environment's EMBRM_DEVICE is used, or else "auto".

    Args:
        name: "auto" takes the first CUDA accelerator if there is one, else the CPU; "mps" is Apple's. Heads that solve
            or sample in double precision, and trees, use the CPU whatever the device.

    Raises:
        OptionError: there is no such device, by its name or on this machine.
    """
    if _check(name) not in ("auto", "cpu"):
        _require(name)
    before = os.environ.get(VARIABLE)
    os.environ[VARIABLE] = name
    try:
        yield
    finally:
        if before is None:
            del os.environ[VARIABLE]
        else:
            os.environ[VARIABLE] = before


def torch_device() -> torch.device:
    """Return the device in use.

    Raises:
        OptionError: EMBRM_DEVICE names none, or none that this machine has.
    """
    import torch

    return torch.device(device_kind("auto"))


def device_kind(name: str) -> str:
    """Return "cpu", "cuda" or "mps": the name itself, or for "auto" the device in use.

    Raises:
        OptionError: there is no such device, by its name or on this machine.
    """
    name = _check((os.environ.get(VARIABLE) or name) if name == "auto" else name)
    if name == "auto":
        return "cuda" if _has("cuda") else "cpu"
    if name != "cpu":
        _require(name)
    return name


def _check(name: str) -> str:
    if name not in DEVICES:
        raise OptionError(f"device must be one of {', '.join(DEVICES)}, got '{name}'")
    return name


def _require(name: str) -> None:
    if not _has(name):
        raise OptionError(
            f"device '{name}' was asked for, and torch finds none on this machine; use 'auto' or 'cpu', or install a "
            f"torch built for {name}"
        )


@functools.cache
def _has(name: str) -> bool:
    import torch

    return bool(torch.cuda.is_available() if name == "cuda" else torch.backends.mps.is_available())
