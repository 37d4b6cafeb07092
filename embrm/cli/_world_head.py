"""A head trained on the spot from preferences of the world, which commands take in place of a saved model."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from embrm.cli import _options

PREFERENCES, HEAD = "preferences.jsonl", "head"
EMBEDDER = "static"  # thousands of texts a second, so that a run's rewards take no time


@dataclass(frozen=True)
class HeadOptions:
    """The head and how its preferences come to be, as typed."""

    head: str | None
    pairs: int
    bias: float
    confounding: float
    flips: float

    def train(self, output: str, *, source: _options.SourceOptions, seed: int, begun: bool = False) -> tuple[str, str]:
        """Draw preferences, train the head on them, write both to the folder, and return their paths: head first.

        Where an interrupted run has `begun` in the folder, both are made again there.

        Raises:
            OptionError: nothing can be written there, or the head's or the embedder's options cannot be.
            DataError: the mechanism leaves too few pairs.
        """
        from embrm import heads
        from embrm.core.files import check_writable, write_rows
        from embrm.core.settings import read_settings
        from embrm.core.views import PRINCIPLE, needed
        from embrm.data.read import read_pairs
        from embrm.embedders import Embedder
        from embrm.world import Mechanism, World
        from embrm.world.sampling import pair_rows

        assert self.head is not None
        recipe = _options.recipes(heads.registry, [self.head])[self.head]
        options = read_settings(source.settings, example="batch_size=32")
        embedder = Embedder.of({"name": EMBEDDER if source.embedder is None else source.embedder, "options": options})
        if not begun:
            check_writable(output, folder=True)
        mechanism = Mechanism(bias=self.bias, confounding=self.confounding)
        told = PRINCIPLE in needed(recipe.reads)
        rows, _ = pair_rows(World.load(), self.pairs, mechanism=mechanism, flips=self.flips, seed=seed, principles=told)
        Path(output).mkdir(parents=True, exist_ok=True)
        file, folder = Path(output) / PREFERENCES, Path(output) / HEAD
        # Two short answers may be the same, which is no preference.
        write_rows(file, [row for row in rows if row["chosen"] != row["rejected"]])
        recipe.fit(read_pairs(file, embedder=embedder, views=(recipe.view,)), seed=seed).save(folder)
        return str(folder), str(file)


def world_head(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options of a head of the world, given to the command as one `trained`."""

    @functools.wraps(function)
    def wrapped(*, head: str | None, pairs: int, bias: float, confounding: float, flips: float, **others: Any) -> Any:
        return function(trained=HeadOptions(head, pairs, bias, confounding, flips), **others)

    for option in (
        click.option("--flips", type=_options.Number(), default=0.0, show_default=True, help="Of --head: label noise."),
        click.option(
            "--confounding",
            type=_options.Number(),
            default=0.0,
            show_default=True,
            help="Of --head: how far texts have style where they have quality.",
        ),
        click.option(
            "--bias",
            type=_options.Number(),
            default=0.0,
            show_default=True,
            help="Of --head: how far annotators follow their likings.",
        ),
        click.option("--pairs", type=_options.whole(1), default=2000, show_default=True, help="Of --head: how many."),
        click.option(
            "--head",
            metavar="NAME[:OPTION=VALUE,…]",
            help="In place of a MODEL: train this head on preferences of the world, by the embedder static unless "
            "--embedder; both are kept in the folder.",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped
