"""`embrm world`."""

from __future__ import annotations

import click

from embrm.cli import _options, _render


@click.group()
def command() -> None:
    """Look into the simulated world, where the gold reward is known."""


@command.command()
@click.option("-n", "--count", default=5, show_default=True, type=click.IntRange(1), help="How many rows.")
@click.option("--pairs", is_flag=True, help="Preference pairs instead of single responses.")
@click.option("--bias", default=0.0, show_default=True, help="How far annotators follow their likings; for --pairs.")
@click.option("--flips", default=0.0, show_default=True, help="Label noise: share of labels flipped; for --pairs.")
@click.option("--world", "path", metavar="FILE", help="Another world.yaml.")
@_options.to_rows
@_options.seed
@_options.json_output
def sample(
    count: int, pairs: bool, bias: float, flips: float, path: str | None, output: str, seed: int, as_json: bool
) -> None:
    """Draw responses of the reference policy with their gold, or preference pairs to train on.

    Examples:
      embrm world sample -n 3
      embrm world sample -n 500 --pairs --bias 1 --flips 0.25 -o prefs.jsonl
    """
    from embrm.core.files import check_output
    from embrm.world import World
    from embrm.world.sampling import pair_rows, response_rows

    check_output(output)
    world = World.load(path)
    if pairs:
        rows = pair_rows(world, count, bias=bias, flips=flips, seed=seed)
    else:
        rows = response_rows(world, count, seed=seed)
    _render.emit_rows(rows, output, as_json=as_json)
