"""How far long loops are: whoever watches, such as a command on a terminal, sees the outermost of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeAlias, TypeVar

Item = TypeVar("Item")
# items, what they are, how many or None where nobody knows → the same items
Watch: TypeAlias = Callable[[Iterable[Any], str, int | None], Iterable[Any]]

_watch: ContextVar[Watch | None] = ContextVar("watch", default=None)


@contextmanager
def watching(watch: Watch | None) -> Iterator[None]:
    """Let long loops inside a `with` block pass through `watch`, such as a bar; None watches nothing."""
    token = _watch.set(watch)
    try:
        yield
    finally:
        _watch.reset(token)


def tracked(items: Iterable[Item], what: str, *, total: int | None = None) -> Iterable[Item]:
    """Return the items of a loop that may take long, watched if anybody does and the loop is inside no other such.

    A loop of one item has nothing to tell; the loops inside it have.

    Args:
        items: of the loop.
        what: they are, in the plural.
        total: how many there are, or about, where they have no length; None where nobody knows.
    """
    watch, count = _watch.get(), len(items) if isinstance(items, Sized) else total
    return items if watch is None or count == 1 else _outermost(watch, items, what, count)


def _outermost(watch: Watch, items: Iterable[Item], what: str, total: int | None) -> Iterator[Item]:
    _watch.set(None)
    try:
        yield from watch(items, what, total)
    finally:
        _watch.set(watch)
