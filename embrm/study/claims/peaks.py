"""What a path gains to its peak and loses after it, cross-fitted over prompts and seeds."""

from __future__ import annotations

import numpy as np

from embrm.bestofn.scaling_law import gain_and_drop
from embrm.core.arrays import Array
from embrm.study.claims.cells import Cells
from embrm.study.claims.sample import Sample, SampleStatistic

MARGIN = 0.05  # share of the gain whose loss still counts as none


def cross_fitted(cells: Cells, gold: Array, statistic: SampleStatistic) -> Sample:
    """Return the bootstrap of a statistic of gains and drops.

    The peak is located on half of the prompts and half of the seeds and measured on the others, so that neither can
    make a peak of its own noise; fewer than four seeds are too few to be halved and serve both sides.

    Args:
        cells: of the data set.
        gold: `(prompts, seeds, heads, k)` along paths.
        statistic: gain and drop, `(b, heads)` each → `(b,)`.
    """
    rng = np.random.default_rng(0)
    prompts, seeds = (rng.permutation(n) for n in gold.shape[:2])
    halves = [gold[prompts[::2]], gold[prompts[1::2]]]
    split = gold.shape[1] >= 4
    if split:
        halves = [half[:, seeds[start::2]] for half, start in zip(halves, (0, 1), strict=True)]

    def of_peaks(means: list[Array]) -> Array:
        first, second = means
        found = [gain_and_drop(first[:, head], second[:, head]) for head in range(gold.shape[2])]
        return statistic(list(np.stack(found, axis=1).transpose(2, 0, 1)))

    return cells.sample(halves, of_peaks, crossed=not split)


def drop(cells: Cells, gold: Array) -> Sample:
    """Return what a single head's path `(prompts, seeds, 1, k)` loses from its peak to its end.

    >>> from embrm.study.config import parse
    >>> from embrm.study.results import Results
    >>> config = parse({"seeds": [0], "datasets": [{"name": "d"}], "pairs": [10], "heads": [{"name": "mlp"}]})
    >>> path = np.array([0.0, 1.0, 3.0, 2.0]) + np.zeros((6, 4, 1, 1))
    >>> drop(Cells(Results(config, []), "d", draws=100), path).estimate
    1.0
    """
    return cross_fitted(cells, gold, lambda found: found[1][:, 0])


def beyond_margin(cells: Cells, gold: Array) -> Sample:
    """Return by how much the drop of a single head's path `(prompts, seeds, 1, k)` exceeds the margin of its gain."""
    return cross_fitted(cells, gold, lambda found: found[1][:, 0] - MARGIN * found[0][:, 0])
