"""How a public name goes: for a release it warns, says what to use, and names the release that removes it."""

from __future__ import annotations

import functools
import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


class RemovalWarning(FutureWarning):
    """A public name that was used goes with the release that the message names; everybody sees it, once a place."""


def deprecated(*, instead: str, removed_in: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Return a decorator of a function that is going: it works as before, and warns.

    Args:
        instead: what to use, as its users write it.
        removed_in: the release that no longer has it, such as "0.3".
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        message = _message(f"{function.__module__}.{function.__qualname__}", instead, removed_in)

        @functools.wraps(function)
        def going(*args: P.args, **kwargs: P.kwargs) -> R:
            warnings.warn(message, RemovalWarning, stacklevel=2)
            return function(*args, **kwargs)

        return going

    return decorate


def deprecated_names(
    module: str, moved: Mapping[str, str], *, removed_in: str, otherwise: Callable[[str], Any]
) -> Callable[[str], Any]:
    """Return a module's `__getattr__` that still finds names that have moved, and warns.

    Args:
        module: name of the module that had them.
        moved: old name → the dotted name that it has now.
        removed_in: the release that no longer has the old names.
        otherwise: what finds the other names; `lazily(module, {})` finds none.
    """

    def find_name(name: str) -> Any:
        if name not in moved:
            return otherwise(name)
        warnings.warn(_message(f"{module}.{name}", moved[name], removed_in), RemovalWarning, stacklevel=2)
        home, _, now = moved[name].rpartition(".")
        return getattr(importlib.import_module(home), now)

    return find_name


def _message(old: str, instead: str, removed_in: str) -> str:
    return f"{old} goes with embrm {removed_in}; use {instead}"
