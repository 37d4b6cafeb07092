"""`embrm list`."""

from __future__ import annotations

import importlib

import click

from embrm.cli import _options, _render

FAMILIES = ("heads", "selectors", "detectors", "embedders")


@click.command()
@click.argument("family", type=click.Choice(FAMILIES), required=False)
@_options.no_seed
@_options.json_output
def command(family: str | None, as_json: bool) -> None:
    """List the heads, selectors, detectors and embedders that there are.

    Example:
      embrm list heads
    """
    found = {}
    for name in [family] if family else FAMILIES:
        registry = importlib.import_module(f"embrm.{name}").registry
        found[name] = {member: registry.describe(member) for member in registry.names()}
    blocks = [_render.table([name, ""], list(members.items())) for name, members in found.items()]
    _render.emit(found, "\n\n".join(blocks), as_json=as_json)
