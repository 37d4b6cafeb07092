"""A small world on the hashing embedder, and the live page on it, for the tests of `embrm demo`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from embrm import embedders
from embrm.demo.app import DemoApp
from embrm.demo.stage import Stage, WorldStage
from embrm.serving.server import HttpServer
from embrm.world import World
from embrm.world.fresh import FreshSize, draw_sample

SIZE = FreshSize(topics=24, stock=48, pool=24, stratum=8, refinements=1)


def small_stage(dimension: int = 128) -> WorldStage:
    """Return the world's stage with few texts."""
    embedder = embedders.get("hashing")(dimension=dimension)
    return WorldStage(draw_sample(World.load(), embedder, seed=0, size=SIZE), embedder)


@contextmanager
def running(stage: Stage, **how: str) -> Iterator[str]:
    """Serve the page of a stage inside the block, and give its address."""
    app = DemoApp()
    app.stage = stage
    with HttpServer(app.guarded, port=0, **how).running() as address:  # type: ignore[arg-type]
        yield address
