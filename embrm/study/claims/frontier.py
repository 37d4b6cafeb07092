"""The claim on frontiers: what accuracy a head keeps, against what gold it is worth, as its regularisation varies."""

from __future__ import annotations

import fnmatch

import numpy as np

from embrm.core.arrays import Array, IntArray
from embrm.study.claims.case import CHANNELS, CLEAN, NOISY
from embrm.study.claims.cells import Cells, Of
from embrm.study.claims.define import Measured, Scope, claim
from embrm.study.claims.fits import missing
from embrm.study.claims.halves import Halves
from embrm.study.claims.verdict import difference

INFORM, MLP = "inform beta=*", "mlp weight_decay=*"
LEVELS = np.linspace(0, 1, 21)  # of accuracy, from the lowest point of both frontiers to the best that both reach


@claim(
    "C20",
    "The bottleneck's frontier lies above that of an equally regularised MLP",
    source="this project, after InfoRM 2024",
    heads=[INFORM, MLP],
    setting="The MLP is regularised by weight decay; other ways may move its frontier.",
    scope=Scope(under="hacks", flips=(CLEAN, NOISY), channels=CHANNELS),
)
def above(cells: Cells) -> Measured:
    """Mean vertical distance of the frontiers (accuracy in distribution, gold at a fixed KL), bottleneck minus MLP.

    A head's frontier at an accuracy a is the gold of that strength of regularisation which has the most gold among
    those whose accuracy is at least a. The strength is found on half of the topics and seeds and its gold measured on
    the others, so that no frontier profits from the noise of its many points. The distance is averaged over a, evenly
    from the lowest accuracy of any point to the highest that both heads reach.
    """
    titles = [_points(cells, INFORM), _points(cells, MLP)]
    every = [title for family in titles for title in family]
    ends = cells.endpoints(*(Of(title, cells.gold("mean")) for title in every))
    pairs = cells.settings[-1].pairs
    accuracy = np.stack(cells.gather(*(Of(title, cells.accuracy) for title in every), pairs=pairs), axis=2)
    kept = np.isfinite(accuracy).all(axis=(1, 2))
    clusters = cells.clusters(cells.accuracy)[kept]
    gold, hits = Halves.of(ends.gold, ends.clusters), Halves.of(accuracy[kept], clusters)
    split = len(titles[0])

    def distance(means: list[Array]) -> Array:
        return frontier_distance(*means, split=split)

    sample = cells.sample(
        [*gold.values, *hits.values],
        distance,
        clusters=[*gold.clusters, *hits.clusters],
        crossed=gold.crossed,
    )
    part = difference(f"gold {ends.at} on the bottleneck's frontier minus MLP's", sample, smallest=cells.smallest)
    best = accuracy[kept].mean(axis=(0, 1))
    listed = [f"{max(best[:split]):.3f}", f"{max(best[split:]):.3f}"]
    return [part], f"{len(titles[0])} and {len(titles[1])} strengths, whose best accuracies are {' and '.join(listed)}"


def frontier_distance(first: Array, second: Array, hits: Array, others: Array, *, split: int) -> Array:
    """Return the cross-fitted mean distance `(b,)` of two frontiers; see `above`.

    >>> gold, accuracy = np.array([[1.0, 3.0, 1.0, 2.0]]), np.array([[0.7, 0.6, 0.7, 0.6]])
    >>> frontier_distance(gold, gold, accuracy, accuracy, split=2)  # at 20 of the 21 levels the weaker ones count
    array([0.04761905])

    Args:
        first, second: gold of each point on two halves, `(b, points)`; the first `split` are of one head.
        hits, others: accuracy likewise.
        split: how many points are of the first head.
    """
    total = np.zeros(len(first))
    for locate, measure, accuracy in ((first, second, hits), (second, first, others)):
        low = accuracy.min(axis=1)
        high = np.minimum(accuracy[:, :split].max(axis=1), accuracy[:, split:].max(axis=1))
        level = low[:, None] + (high - low)[:, None] * LEVELS
        found = [_gold_at(locate[:, at], measure[:, at], accuracy[:, at], level) for at in _sides(split)]
        total += (found[0] - found[1]).mean(axis=1) / 2
    return total


def _sides(split: int) -> tuple[slice, slice]:
    return slice(None, split), slice(split, None)


def _gold_at(locate: Array, measure: Array, accuracy: Array, level: Array) -> Array:
    """Return the measured gold of the best point whose accuracy is at least each level, `(b, levels)`."""
    allowed = accuracy[:, None, :] >= level[:, :, None] - 1e-12
    best: IntArray = np.where(allowed, locate[:, None, :], -np.inf).argmax(axis=2)
    return np.asarray(np.take_along_axis(measure, best, axis=1))


def _points(cells: Cells, pattern: str) -> list[str]:
    found = [title for title in fnmatch.filter(cells.fits.titles, pattern) if " latent" not in title]
    if len(found) < 2:
        raise missing(f"{cells.dataset} has no frontier: two heads titled '{pattern}' or more")
    return found
