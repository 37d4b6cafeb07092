"""What a curve gains to its peak and loses after it, as samples."""

from __future__ import annotations

import numpy as np

from embrm.bestofn.scaling_law import gain_and_drop
from embrm.core.arrays import Array
from embrm.study.claims.cells import Cells, GoldCurves
from embrm.study.claims.halves import Halves
from embrm.study.claims.margins import DROP
from embrm.study.claims.sample import Sample, SampleStatistic


def cross_fitted(cells: Cells, curves: GoldCurves, statistic: SampleStatistic) -> Sample:
    """Return the bootstrap of a statistic of gains and drops.

    The peak is located on half of the topics and half of the seeds and measured on the others, so that neither can make
    a peak of its own noise: the peak minus the end of one sample is never negative, however flat the curve.

    Args:
        cells: of the data set.
        curves: of the heads.
        statistic: gain and drop, `(b, heads)` each → `(b,)`.
    """
    halves = Halves.of(curves.gold, curves.clusters)

    def of_peaks(means: list[Array]) -> Array:
        first, second = means
        found = [gain_and_drop(first[:, head], second[:, head]) for head in range(first.shape[1])]
        return statistic(list(np.stack(found, axis=1).transpose(2, 0, 1)))

    return cells.sample(halves.values, of_peaks, clusters=halves.clusters, crossed=halves.crossed)


def drop(cells: Cells, curves: GoldCurves) -> Sample:
    """Return what a single head's curve loses from its peak to its end.

    >>> from embrm.study.claims.fits import DatasetFits
    >>> from embrm.study.config import parse
    >>> from embrm.study.results import Results
    >>> config = parse({"seeds": [0], "datasets": [{"name": "d"}], "pairs": [10], "heads": [{"name": "mlp"}]})
    >>> gold = np.array([0.0, 1.0, 3.0, 2.0]) + np.zeros((6, 4, 1, 1))
    >>> curves = GoldCurves(np.arange(4.0), gold, np.arange(6), "3 nats")
    >>> drop(Cells(DatasetFits(Results(config, []), "d"), draws=100), curves).estimate
    1.0
    """
    return cross_fitted(cells, curves, lambda found: found[1][:, 0])


def beyond_margin(cells: Cells, curves: GoldCurves) -> Sample:
    """Return by how much the drop of a single head's curve exceeds the margin of its own gain."""
    return cross_fitted(cells, curves, lambda found: found[1][:, 0] - DROP * found[0][:, 0])
