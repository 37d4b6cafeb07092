"""Options of every command that reads texts: what the file calls its columns, its layout, and what bad rows do."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import click

from embrm.errors import OptionError

if TYPE_CHECKING:
    from embrm.data.faults import RowRules

_OPTIONS = (
    click.option(
        "--columns",
        multiple=True,
        metavar="OURS=THEIRS,…",
        help="What the file calls a column: chosen=winner,prompt=question; rating=NAME chooses among ratings, "
        "margin=a-b takes a difference, margin=gap that of ratings, and margin= leaves a column out.",
    ),
    click.option(
        "--layout", metavar="NAME", help="The layout (`embrm data layouts`); told from the columns unless given."
    ),
    click.option(
        "--on-bad-row",
        metavar="stop|skip|report=FILE",
        default="stop",
        show_default=True,
        help="Rows that cannot be used: name them all and stop, leave them out, or also list them in a file.",
    ),
    click.option(
        "--keep-system-turns/--drop-system-turns",
        default=None,
        help="Whether system turns stay in prompts: as in the model's training texts; dropped where there is none.",
    ),
)
_REFERENCE = (
    click.option(
        "--reference-columns",
        multiple=True,
        metavar="OURS=THEIRS,…",
        help="What the file of reference texts calls its columns; --columns unless given.",
    ),
    click.option("--reference-layout", metavar="NAME", help="Its layout; --layout unless given."),
)


stream = click.option(
    "--stream",
    is_flag=True,
    help="Read the file in blocks, for one larger than memory: JSON Lines, Parquet, Arrow, or shards of such.",
)


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options, given to the command as one `rules`."""

    @functools.wraps(function)
    def wrapped(
        *, columns: tuple[str, ...], layout: str | None, on_bad_row: str, keep_system_turns: bool | None, **others: Any
    ) -> Any:
        from embrm.data.faults import RowRules

        rules = RowRules(_columns(columns), layout, on_bad_row, keep_system_turns)
        return function(rules=rules, **others)

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def reference_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a second file, given to the command as `reference_rules`; it stands below `options`."""

    @functools.wraps(function)
    def wrapped(
        *, rules: RowRules, reference_columns: tuple[str, ...], reference_layout: str | None, **others: Any
    ) -> Any:
        columns = _columns(reference_columns) or rules.columns
        known = dataclasses.replace(rules, columns=columns, layout=reference_layout or rules.layout)
        return function(rules=rules, reference_rules=known, **others)

    for option in reversed(_REFERENCE):
        wrapped = option(wrapped)
    return wrapped


def typed(*given: RowRules) -> list[str]:
    """Return the options by which rules differ from those that nobody typed."""
    from embrm.data.faults import RowRules

    names = {"columns": "--columns", "layout": "--layout", "on_bad_row": "--on-bad-row"}
    names["keep_system"] = "--keep-system-turns"
    plain = RowRules()
    return [name for field, name in names.items() if any(getattr(g, field) != getattr(plain, field) for g in given)]


def account(found: Mapping[str, Any], pairs: int, kept: int, rules: RowRules) -> tuple[dict[str, Any], str]:
    """Return what became of the rows of a file of pairs, and the same in one line: nothing is lost untold.

    Args:
        found: the account of the texts.
        pairs: how many were read.
        kept: how many of them have two different vectors.
        rules: how they were read.
    """
    told = {**found, "pairs": kept, "became_equal": pairs - kept, **rules.record}
    lost = {name: count for name, count in told.items() if count and name not in ("layout", "rows", "pairs")}
    return told, f"read as {told['layout']}: {told['rows']} rows" + "".join(f", {n}: {c}" for n, c in lost.items())


def _columns(typed: tuple[str, ...]) -> dict[str, str]:
    found: dict[str, str] = {}
    for item in ",".join(typed).split(",") if typed else ():
        ours, equals, theirs = item.partition("=")
        if not equals or not ours.strip():
            raise OptionError(f"--columns takes OURS=THEIRS, such as chosen=winner,prompt=question, got '{item}'")
        found[ours.strip()] = theirs.strip()
    return found
