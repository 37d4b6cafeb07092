"""Whether a command shows how far it is: on standard error, where somebody looks at a terminal and wants to know."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

import click

SILENT = 2.0  # seconds that work may take before a bar is drawn
_quiet: ContextVar[bool] = ContextVar("quiet", default=False)


def is_quiet() -> bool:
    """Say whether `--quiet` was typed."""
    return _quiet.get()


def is_watched() -> bool:
    """Say whether bars are to be drawn."""
    return sys.stderr.isatty() and not is_quiet()


def bar(items: Iterable[Any], what: str, total: int | None) -> Iterable[Any]:
    """Return the items, with a bar of how far they are and what is left, where it is watched and takes long.

    Where nobody knows how many there are, it only counts.
    """
    if not is_watched():
        return items
    from tqdm import tqdm

    bars: Iterable[Any] = tqdm(items, desc=what, total=total, delay=SILENT, leave=False)
    return bars


def add_quiet(command: click.Command) -> None:
    """Give a command, and those below it, the option `--quiet`."""
    for part in getattr(command, "commands", {}).values():
        add_quiet(part)
    if not isinstance(command, click.Group) and not any(option.name == "quiet" for option in command.params):
        words = "Show no progress; results, warnings and errors are printed all the same."
        command.params.append(click.Option(["--quiet"], is_flag=True, expose_value=False, callback=_set, help=words))


def _set(context: click.Context, option: click.Parameter, typed: bool) -> None:
    token = _quiet.set(typed)
    context.call_on_close(lambda: _quiet.reset(token))
