"""The claim on frontiers: what accuracy a head keeps, against what gold it is worth, as its regularisation varies."""

from __future__ import annotations

import fnmatch

import numpy as np

from embrm.core.arrays import Array
from embrm.study.claims.case import CHANNELS, CLEAN, NOISY
from embrm.study.claims.cells import Cells, Of
from embrm.study.claims.define import Measured, Scope, claim
from embrm.study.claims.fits import missing
from embrm.study.claims.halves import Halves
from embrm.study.claims.verdict import difference

INFORM, MLP = "inform beta=*", "mlp weight_decay=*"
LEVELS = np.linspace(0, 1, 11)  # of accuracy, from the lowest point of both frontiers to the best that both reach


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

    A head's frontier at an accuracy a is the most gold of any mixture of two strengths of its regularisation whose
    accuracy is at least a: between two points that is the line from one to the other. The mixture is found on half of
    the topics and seeds and its gold measured on the others, so that no frontier profits from the noise of its many
    points. The distance is averaged over a, from the lowest accuracy of any point to the highest that both reach.
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
    >>> frontier_distance(gold, gold, accuracy, accuracy, split=2)  # 1 at accuracy 0.6, nothing at 0.7
    array([0.5])

    Args:
        first: gold of each point on one half, `(b, points)`; the first `split` are of one head.
        second: on the other half.
        hits: accuracy of each point on the first half.
        others: on the other half.
        split: how many points are of the first head.
    """
    total = np.zeros(len(first))
    for locate, measure, accuracy in ((first, second, hits), (second, first, others)):
        low = accuracy.min(axis=1)
        high = np.minimum(accuracy[:, :split].max(axis=1), accuracy[:, split:].max(axis=1))
        level = low[:, None] + (high - low)[:, None] * LEVELS
        sides = (slice(None, split), slice(split, None))
        found = [_frontier(locate[:, side], measure[:, side], accuracy[:, side], level) for side in sides]
        total += (found[0] - found[1]).mean(axis=1) / 2
    return total


def _frontier(locate: Array, measure: Array, accuracy: Array, level: Array) -> Array:
    """Return the measured gold of the best mixture of two points at each level `(b, levels)`."""
    more, less = (x.ravel() for x in np.indices((locate.shape[1],) * 2))  # all pairs, and each point with itself
    high, low, at = accuracy[:, None, more], accuracy[:, None, less], level[:, :, None]
    apart = np.where(high > low, high - low, 1.0)
    share = np.where(high > low, np.clip((at - low) / apart, 0.0, 1.0), 1.0)  # of the more accurate one
    located = share * locate[:, None, more] + (1 - share) * locate[:, None, less]
    best = np.where(high >= at - 1e-12, located, -np.inf).argmax(axis=2)[:, :, None]
    measured = share * measure[:, None, more] + (1 - share) * measure[:, None, less]
    return np.asarray(np.take_along_axis(measured, best, axis=2)[:, :, 0])


def _points(cells: Cells, pattern: str) -> list[str]:
    found = [title for title in fnmatch.filter(cells.fits.titles, pattern) if " latent" not in title]
    if len(found) < 2:
        raise missing(f"{cells.dataset} has no frontier: two heads titled '{pattern}' or more")
    return found
