"""`embrm list`."""

from __future__ import annotations

import importlib

import click

from embrm.cli import _options, _render

FAMILIES = {
    "heads": "embrm.heads",
    "selectors": "embrm.selectors",
    "detectors": "embrm.detectors",
    "embedders": "embrm.embedders",
    "datasets": "embrm.study.datasets",
    "experiments": "embrm.study.experiments",
    "claims": "embrm.study.claims",
}


@click.command()
@click.argument("family", type=click.Choice(list(FAMILIES)), required=False)
@_options.no_seed
@_options.json_output
def command(family: str | None, as_json: bool) -> None:
    """List the heads, selectors, detectors, embedders, kinds of data sets, experiments and claims that there are.

    Example:
      embrm list heads
    """
    found = {}
    for name in [family] if family else FAMILIES:
        offered = importlib.import_module(FAMILIES[name])
        found[name] = {member: offered.describe(member) for member in offered.names()}
    blocks = [_render.table([name, ""], list(members.items())) for name, members in found.items()]
    _render.emit(found, "\n\n".join(blocks), as_json=as_json)
