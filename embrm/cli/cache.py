"""`embrm cache`."""

from __future__ import annotations

import click

from embrm.cli import _options, _render


@click.group()
def command() -> None:
    """Show or prune the cache of embeddings."""


@command.command()
@_options.no_seed
@_options.json_output
def info(as_json: bool) -> None:
    """Show what the cache holds of each embedder.

    Example:
      embrm cache info
    """
    from embrm.embedders.cache import store as _cache

    _render.emit_cache(_cache.info(), "there", as_json=as_json)


@command.command()
@click.option(
    "--idle-days",
    type=_options.Number(),
    default=0.0,
    show_default=True,
    help="Only what was not used for so many days; 0: all.",
)
@_options.no_seed
@_options.json_output
def prune(idle_days: float, as_json: bool) -> None:
    """Remove cached embeddings; they are computed again when they are needed.

    Example:
      embrm cache prune --idle-days 30
    """
    from embrm.embedders.cache import store as _cache

    _render.emit_cache(_cache.prune(idle_days=idle_days), "removed", as_json=as_json)
