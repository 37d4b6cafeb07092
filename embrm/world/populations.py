"""Populations of annotators: what each likes beyond the gold, so that no response pleases all."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import Array
from embrm.core.data import Pairs
from embrm.core.names import suggestion
from embrm.errors import DataError, UnknownNameError
from embrm.world.mechanism import Mechanism
from embrm.world.preferences import prefer
from embrm.world.schema import Effect
from embrm.world.world import World
from embrm.world.world_sample import FAIR, WorldSample

# Each goes by the gold and by a liking of its own; what one likes, another does not.
POPULATIONS: Mapping[str, Mapping[str, Effect]] = {
    "warm": {"flattery": Effect(first=1.5, beyond=1), "hedging": Effect(first=-1, beyond=-0.5)},
    "careful": {"hedging": Effect(first=1.5, beyond=1), "overconfidence": Effect(first=-1.5, beyond=0)},
    "brisk": {
        "flattery": Effect(first=-1.5, beyond=0),
        "padding": Effect(first=-1, beyond=-0.5),
        "list_marker": Effect(first=1, beyond=0.5),
    },
}


def utility_of(world: World, counts: npt.ArrayLike, population: str) -> Array:
    """Return what a population goes by `(n,)`: the gold of counts `(n, a)`, and its own liking.

    Raises:
        UnknownNameError: there is no such population.
    """
    if population not in POPULATIONS:
        raise UnknownNameError(f"no population named '{population}'. {suggestion(population, list(POPULATIONS))}")
    return world.gold(counts) + world.worth(dict(POPULATIONS[population]), np.asarray(counts))


def judged_by(
    sample: WorldSample, pairs: Mapping[str, int], *, mechanism: Mechanism = FAIR, flips: float = 0.0, seed: int
) -> Pairs:
    """Return training pairs of several populations, each with its own share of the pairs, named as annotators.

    Args:
        sample: the texts.
        pairs: how many each population judges.
        mechanism: how the texts are collected; its bias is the liking of nobody here, and must be 0.
        flips: share of the labels that are flipped.
        seed: determines which texts are compared, by whom, and the labels.

    Raises:
        DataError: there are fewer pairs, or the mechanism has a bias.
        UnknownNameError: there is no such population.
    """
    if mechanism.bias:
        raise DataError("populations have likings of their own in place of a bias; take a mechanism without one")
    rows = sample.collected(mechanism, pairs=sum(pairs.values()), seed=seed).rows
    names = np.random.default_rng([seed, 11]).permutation(np.repeat(list(pairs), list(pairs.values())))
    counts = sample.responses["training"].counts
    first = np.zeros(len(rows), dtype=bool)
    for number, name in enumerate(pairs):
        own = names == name
        utility = utility_of(sample.world, counts, name)
        first[own] = prefer(*utility[rows[own].T], seed=seed + 1000 * number, flips=flips)
    ordered = np.where(first[:, None], rows, rows[:, ::-1])
    return Pairs(sample.features["training"], ordered[:, 0], ordered[:, 1], annotator=names)
