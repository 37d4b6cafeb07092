"""`embrm world`."""

from __future__ import annotations

from typing import Any

import click

from embrm.cli import _options, _render


@click.group()
def command() -> None:
    """Look into the simulated world, where the gold reward is known."""


@command.command()
@click.option("-n", "--count", default=5, show_default=True, type=_options.whole(1), help="How many rows.")
@click.option("--pairs", is_flag=True, help="Preference pairs instead of single responses.")
@click.option(
    "--bias",
    type=_options.Number(),
    default=0.0,
    show_default=True,
    help="How far annotators follow their likings; for --pairs.",
)
@click.option(
    "--flips",
    type=_options.Number(),
    default=0.0,
    show_default=True,
    help="Label noise: share of labels flipped; for --pairs.",
)
@click.option(
    "--confounding",
    type=_options.Number(),
    default=0.0,
    show_default=True,
    help="How far texts have style where they have quality; likewise.",
)
@click.option(
    "--coverage",
    type=_options.Number(),
    default=1.0,
    show_default=True,
    help="Share of the topics the pairs are about; likewise.",
)
@click.option("--unseen", multiple=True, metavar="STYLE", help="A style no text has any use of; repeatable; likewise.")
@click.option(
    "--principles",
    is_flag=True,
    help="Tell annotators a principle with each pair, or its negation; the row then names it; for --pairs.",
)
@click.option("--world", "path", metavar="FILE", help="Another world.yaml.")
@_options.to_rows
@_options.seed
@_options.json_output
def sample(count: int, pairs: bool, path: str | None, output: str, seed: int, as_json: bool, **typed: Any) -> None:
    """Draw responses of the reference policy with their gold, or preference pairs to train on.

    Examples:
      embrm world sample -n 3
      embrm world sample -n 500 --pairs --bias 1 --flips 0.25 -o prefs.jsonl
      embrm world sample -n 500 --pairs --confounding 2 -o confounded.jsonl
      embrm world sample -n 500 --pairs --bias 1 --principles -o told.jsonl
    """
    from embrm.core.files import check_output
    from embrm.world import Mechanism, World
    from embrm.world.sampling import pair_rows, response_rows

    check_output(output)
    world = World.load(path)
    if not pairs:
        _render.emit_rows(response_rows(world, count, seed=seed), output, as_json=as_json)
        return
    how = {name: typed.pop(name) for name in ("flips", "principles")}
    rows, found = pair_rows(world, count, mechanism=Mechanism(**typed), seed=seed, **how)
    _render.emit_rows(rows, output, as_json=as_json)
    said = f"of {found.available} possible pairs; {found.seen_share:.1%} of the reference policy's texts could be seen"
    click.echo(f"{said}; correlation of style and quality {found.correlation:.2f}", err=True)
