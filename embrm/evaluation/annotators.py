"""Rewards of several annotators: how well each is known, and what one annotator's change would mean to the others."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import Array, check_offsets
from embrm.core.data import Pairs
from embrm.core.results import Reward
from embrm.errors import DataError
from embrm.evaluation.pair_sums import hits
from embrm.selectors import Selector


@dataclass(frozen=True)
class AnnotatorAccuracy:
    """How the pairs of one annotator are ordered.

    Attributes:
        name: of the annotator.
        pairs: how many pairs this one judged, ties aside.
        own: share that this annotator's own reward orders as judged (equal rewards count half).
        mean: share that the mean reward of all annotators orders so.
    """

    name: str
    pairs: int
    own: float
    mean: float


@dataclass(frozen=True, eq=False)
class Coverage:
    """How well the data cover unilateral changes: one annotator's preferred response in place of the one chosen.

    Attributes:
        names: of the `A` annotators.
        moved: `(A,)` share of the pools in which the annotator prefers another response than the one that was chosen.
        gain: `(A, A)` entry (i, j) is what annotator j gains when i's preferred response replaces the chosen one: the
            mean over those pools, in standard deviations of j's reward within pools; NaN where nothing moves.
        uncertainty: `(A, A)` the standard deviation over draws of the same, the mean over those pools.
        unsure: `(A, A)` share of those pools in which 0 lies within two standard deviations of j's gain: the data do
            not tell whether j would gain or lose.
    """

    names: tuple[str, ...]
    moved: Array
    gain: Array
    uncertainty: Array
    unsure: Array


def annotator_accuracy(reward: Reward, pairs: Pairs) -> list[AnnotatorAccuracy]:
    """Return for each annotator of pairs how its own reward orders them, and how the mean of all does.

    Args:
        reward: of all rows of `pairs.features`, with the annotators of its draws.
        pairs: with their annotators.

    Raises:
        DataError: the pairs name no annotator, or one of whom the model has no reward.
    """
    if pairs.annotator is None:
        raise DataError("the pairs name no annotators; say in which column they are: --columns annotator=NAME")
    decided = np.ones(len(pairs), dtype=bool) if pairs.tie is None else ~pairs.tie
    known = reward.centred().by_annotator()
    everyone = Reward(np.mean([draws.mean(axis=0) for draws in known.values()], axis=0)[None], "point")
    out = []
    for name in np.unique(pairs.annotator[decided]).tolist():
        if name not in known:
            raise DataError(f"the model has no reward of the annotator '{name}'; it has those of {', '.join(known)}")
        own = pairs.take(decided & (pairs.annotator == name))
        shares = [float(hits(r, own).mean()) for r in (Reward(known[name].mean(axis=0)[None], "point"), everyone)]
        out.append(AnnotatorAccuracy(name, len(own), *shares))
    return out


def coverage(reward: Reward, rule: Selector, *, offsets: npt.ArrayLike | None = None, seed: int) -> Coverage:
    """Return how sure the rewards of annotators are of unilateral changes from what a rule chooses.

    Offline data are enough to learn an agreement from where they cover it and every change that one party alone can
    make (unilateral coverage, Zhang et al. 2409.00717); covering the agreement itself is not enough. Here a change is
    one annotator's preferred response of a pool in place of the chosen one.

    Args:
        reward: of the candidates, with several draws of each annotator.
        rule: what chooses.
        offsets: `(pools + 1,)`; None means one pool.
        seed: of random rules.

    Raises:
        DataError: an annotator's reward has a single draw.
    """
    bounds = check_offsets(offsets, len(reward))
    known = reward.centred().by_annotator()
    single = [name for name, draws in known.items() if len(draws) < 2]
    if single:
        raise DataError(
            f"coverage is told from the draws of each annotator's reward, and {', '.join(single)} has one; fit with a "
            "base of several members or draws, such as laplace"
        )
    chosen = rule(reward, offsets=bounds, seed=seed).index
    shape = (len(known), len(known))
    gain, uncertainty, unsure, moved = (np.full(shape, np.nan) for _ in range(4))
    sizes = np.diff(bounds)
    for i, wanting in enumerate(known.values()):
        mean = wanting.mean(axis=0)
        preferred = np.array([a + mean[a:b].argmax() for a, b in pairwise(bounds)])
        change = np.flatnonzero(preferred != chosen)
        moved[i] = len(change) / len(chosen)
        for j, draws in enumerate(known.values() if change.size else ()):
            own = draws.mean(axis=0)
            spread = own - np.repeat(np.add.reduceat(own, bounds[:-1]) / sizes, sizes)
            scale = float(np.sqrt(np.mean(spread**2))) or 1.0
            difference = (draws[:, preferred[change]] - draws[:, chosen[change]]) / scale
            mu, sd = difference.mean(axis=0), difference.std(axis=0)
            gain[i, j], uncertainty[i, j], unsure[i, j] = mu.mean(), sd.mean(), np.mean(np.abs(mu) <= 2 * sd)
    return Coverage(tuple(known), moved[:, 0], gain, uncertainty, unsure)
