"""Principles of the world: what annotators are told to judge by, in many wordings, and the pairs that come of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from embrm.core.arrays import Array, IntArray
from embrm.core.bounds import DOCUMENT
from embrm.core.data import Pairs
from embrm.core.data_folder import data_folder
from embrm.core.documents import read_bytes
from embrm.core.names import suggestion
from embrm.core.views import PRINCIPLE
from embrm.core.yaml_files import read_yaml
from embrm.embedders import Embedder
from embrm.errors import DataError, UnknownNameError
from embrm.world.mechanism import Mechanism
from embrm.world.preferences import prefer
from embrm.world.schema import Effect
from embrm.world.world import World
from embrm.world.world_sample import WorldSample

FILE = "principles.yaml"
Wordings = Annotated[tuple[str, ...], Field(min_length=1)]
Share = Literal["wordings", "held_out"]


class Negation(BaseModel, extra="forbid", frozen=True):
    """The opposite of a principle in words; what it changes is that of the principle with its sign turned."""

    wordings: Wordings
    held_out: Wordings


class Principle(BaseModel, extra="forbid", frozen=True):
    """A principle: what it changes of the gold's weights, and how it is said; `held_out` stands in no training row."""

    id: str
    change: Annotated[dict[str, Effect], Field(min_length=1)]
    wordings: Wordings
    held_out: Wordings
    negation: Negation


@dataclass(frozen=True)
class Told:
    """What an annotator is told: a principle or its negation, in one wording.

    Attributes:
        principle: which.
        sign: 1, or -1 for its negation.
        text: the wording.
    """

    principle: Principle
    sign: int
    text: str

    def worth(self, world: World, counts: npt.ArrayLike) -> Array:
        """Return what following it adds to the utility of responses with the given counts `(n, a)`, `(n,)`."""
        return self.sign * world.worth(self.principle.change, np.asarray(counts))


@cache
def read_principles(path: Path | None = None) -> tuple[Principle, ...]:
    """Read principles; without a path, those that come with the project.

    Raises:
        DataError: the file is absent or is no list of principles, or a text stands in it twice.
    """
    path = data_folder() / FILE if path is None else path
    data = read_yaml(read_bytes(path, most=DOCUMENT).decode(errors="replace"), name=str(path))
    try:
        found = TypeAdapter(tuple[Principle, ...]).validate_python(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{path}: {where}: {first['msg']}; correct the value") from None
    texts = [told.text for share in ("wordings", "held_out") for told in all_told(found, share)]
    twice = next((text for text in texts if texts.count(text) > 1), None)
    if twice is not None:
        raise DataError(f"{path}: '{twice}' stands there twice; word one of them differently")
    return found


def find_principle(name: str) -> Principle:
    """Return the project's principle of that id.

    Raises:
        UnknownNameError: there is none.
    """
    known = {principle.id: principle for principle in read_principles()}
    if name not in known:
        raise UnknownNameError(f"no principle named '{name}'. {suggestion(name, list(known))}")
    return known[name]


def told_each(pairs: int, *, seed: int) -> list[Told]:
    """Return what the annotator of each pair is told: a principle or negation of the project's, in a training wording.

    All wordings are equally likely.
    """
    known = all_told(read_principles(), "wordings")
    return [known[i] for i in np.random.default_rng([seed, 17]).integers(len(known), size=pairs)]


def told_utility(told: Sequence[Told], world: World, counts: IntArray, *, bias: float) -> Array:
    """Return `(n, 2)` what annotators go by between the texts of pairs: their own taste, and what they are told.

    Args:
        told: of each of `n` pairs.
        world: whose gold and likings.
        counts: `(n, 2, a)` uses of each attribute.
        bias: how much annotators follow their likings beyond the gold.
    """
    utility = world.utility(counts.reshape(-1, counts.shape[2]), bias=bias).reshape(len(told), 2)
    alike: dict[tuple[str, int], list[int]] = {}
    for i, each in enumerate(told):
        alike.setdefault((each.principle.id, each.sign), []).append(i)
    for at in alike.values():
        utility[at] += told[at[0]].worth(world, counts[at].reshape(-1, counts.shape[2])).reshape(-1, 2)
    return utility


def told_pairs(
    sample: WorldSample, mechanism: Mechanism, *, embedder: Embedder, flips: float, pairs: int, seed: int
) -> Pairs:
    """Return the training pairs of `WorldSample.preferences` as annotators label them who are told a principle each.

    Their features have the view "principle" beside those of the sample, and each pair rows of its own.

    Raises:
        DataError: the mechanism leaves fewer than `pairs`.
    """
    rows = sample.collected(mechanism, pairs=pairs, seed=seed).rows
    told = told_each(pairs, seed=seed)
    utility = told_utility(told, sample.world, sample.responses["training"].counts[rows], bias=mechanism.bias)
    first = prefer(utility[:, 0], utility[:, 1], seed=seed, flips=flips)
    features = sample.features["training"].take(np.where(first[:, None], rows, rows[:, ::-1]).ravel())
    number = {text: i for i, text in enumerate(dict.fromkeys(each.text for each in told))}
    vectors = embedder.embed(list(number)).vectors[np.repeat([number[each.text] for each in told], 2)]
    at = np.arange(0, 2 * pairs, 2)
    return Pairs(replace(features, views={**features.views, PRINCIPLE: vectors}), at, at + 1)


def all_told(principles: Sequence[Principle], share: Any) -> list[Told]:
    """Return every principle and every negation in every wording of a share: "wordings" or "held_out"."""
    sides = [(principle, sign) for principle in principles for sign in (1, -1)]
    return [
        Told(principle, sign, text)
        for principle, sign in sides
        for text in getattr(principle if sign > 0 else principle.negation, share)
    ]
