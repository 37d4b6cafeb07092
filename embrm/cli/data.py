"""`embrm data`."""

from __future__ import annotations

import sys

import click

from embrm.cli import _options, _render

_folder = click.option(
    "--folder", metavar="FOLDER", help="Another folder with a world.yaml; default: the shipped data."
)


@click.group()
def command() -> None:
    """Make or check the data that come with the project."""


@command.command()
@_folder
@_options.seed
@_options.json_output
def build(folder: str | None, seed: int, as_json: bool) -> None:
    """Remake texts and vectors from world.yaml and a seed; takes minutes, as MiniLM embeds every text.

    Example:
      embrm data build --folder data
    """
    from pathlib import Path

    from embrm.world import build as data
    from embrm.world.data_folder import data_folder

    place = Path(folder) if folder else data_folder()
    manifest = data.build(place, seed=seed, progress=sys.stderr.isatty())
    lines = [f"{name}: {file['bytes'] / 1e6:.1f} MB" for name, file in manifest["files"].items()]
    _render.emit(manifest, "\n".join(lines), as_json=as_json)


@command.command()
@_folder
@click.option("--sample", default=64, show_default=True, help="Texts that each embedder embeds anew; 0: none.")
@_options.no_seed
@_options.json_output
def verify(folder: str | None, sample: int, as_json: bool) -> None:
    """Check the hashes, and that texts and a sample of vectors come out the same when they are made again.

    Example:
      embrm data verify --sample 0
    """
    from pathlib import Path

    from embrm.world import build as data
    from embrm.world.data_folder import data_folder

    done = data.verify(Path(folder) if folder else data_folder(), sample=sample)
    _render.emit({"checked": done}, "\n".join(done), as_json=as_json)
