"""How far long loops are: whoever watches, such as a command on a terminal, sees the outermost of them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias, TypeVar

Item = TypeVar("Item")
Watch: TypeAlias = Callable[[Iterable[Any], str, int], Iterable[Any]]  # items, what they are, how many → the same items

_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)


@contextmanager
def watching(watch: Watch | None) -> Iterator[None]:
    """Let long loops inside a `with` block pass through `watch`, such as a bar; None watches nothing."""
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)


def tracked(items: Collection[Item], what: str) -> Iterable[Item]:
    """Return the items of a loop that may take long, watched if anybody does and the loop is inside no other such.

    Args:
        items: of the loop.
        what: they are, in the plural.
    """
    watch = _watch.get()
    return items if watch is None else _outermost(watch, items, what)


def _outermost(watch: Watch, items: Collection[Item], what: str) -> Iterator[Item]:
    _watch.set(None)
    try:
        yield from watch(items, what, len(items))
    finally:
        _watch.set(watch)
