"""A sample of the world that is made when it is opened, for an embedder that is quick enough."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Self

from embrm.core.data_folder import data_folder
from embrm.core.names import suggestion
from embrm.core.registry import register
from embrm.errors import OptionError
from embrm.study.datasets._pools import embedder_of, file_hash
from embrm.study.datasets.world import WorldData, sample_parts
from embrm.study.results import key_of
from embrm.study.schema import DatasetConfig
from embrm.world import World
from embrm.world.fresh import FreshSize, draw_sample, draw_stock
from embrm.world.world_sample import WorldSample


@register
@dataclass(frozen=True, eq=False)
class FastData(WorldData):
    """The world made on the spot: the same topics as the shipped one, other texts, and more where rewards lead.

    It is meant for the embedder "static", whose vectors are a mean over words, so that heads read nearly additive
    features. Every process that opens it makes the same texts; vectors come from the embedder's cache.
    """

    @classmethod
    def identify(cls, config: DatasetConfig) -> str:
        """Return the hash of the world, the embedder, and how many texts are made from which seed."""
        seed, size = _options(config)
        return key_of(config.kind, file_hash(_world()), embedder_of(config).identity, seed, vars(size))

    @classmethod
    def stock(cls, config: DatasetConfig) -> WorldSample:
        """Return the training texts alone, without vectors."""
        seed, size = _options(config)
        return draw_stock(World.load(_world()), seed=seed, size=size)

    @classmethod
    def open(cls, config: DatasetConfig) -> Self:
        """Make the texts and embed those that the cache does not have.

        Raises:
            OptionError: an option is unknown or cannot be.
            MissingExtraError: the embedder is not installed.
        """
        seed, size = _options(config)
        recipe = embedder_of(config)
        data = draw_sample(World.load(_world()), recipe, seed=seed, size=size)
        parts = sample_parts(config.name, data, data.features["pools"])
        return cls(**parts, world=data, texts=data.features["training"], recipe=recipe)


def _world() -> str:
    return str(data_folder() / "world.yaml")


def _options(config: DatasetConfig) -> tuple[int, FreshSize]:
    """Return the seed, and the size of the sample."""
    given: dict[str, Any] = dict(config.options)
    seed = given.pop("seed", 0)
    if not isinstance(seed, int):
        raise OptionError(f"dataset '{config.name}': seed must be an integer, got {seed!r}")
    known = [field.name for field in fields(FreshSize)]
    for name in given:
        if name not in known:
            raise OptionError(f"dataset '{config.name}' has no option '{name}'. {suggestion(name, [*known, 'seed'])}")
    return seed, FreshSize(**given)
