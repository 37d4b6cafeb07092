"""Distance to the nearest reference rows."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embrm.core.arrays import Array
from embrm.core.registry import register
from embrm.detectors._calibrated import CalibratedDetector, LearntScore
from embrm.detectors._dbscan import distinct
from embrm.detectors._detector import in_units, unit_of
from embrm.errors import DataError, OptionError


@register
@dataclass(frozen=True, kw_only=True)
class Neighbours(CalibratedDetector):
    """Distance to the k-th nearest distinct reference row, with conformal p-values.

    Attributes:
        k: which neighbour; a larger k forgives outputs that lie near a few odd reference rows less.

    Examples:
        >>> import numpy as np
        >>> from embrm import detectors
        >>> rng = np.random.default_rng(0)
        >>> fitted = detectors.get("neighbours")(k=1).fit(rng.normal(size=(400, 3)), seed=0)
        >>> fitted.check([[0.0, 0.0, 0.0], [9.0, 9.0, 9.0]]).flagged
        array([False,  True])
    """

    k: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.k < 1:
            raise OptionError(f"k must be at least 1, got {self.k}")

    def learn(self, x: Array, *, seed: int) -> LearntScore:
        """Keep the distinct rows of `(m, k)`.

        Raises:
            DataError: there are fewer than k.
        """
        from sklearn.neighbors import NearestNeighbors

        rows = x[distinct(x)[0]]
        if len(rows) < self.k:
            raise DataError(
                f"the {self.k}-th neighbour needs {self.k} distinct reference rows, got {len(rows)}; lower k"
            )
        unit = unit_of(rows)
        nearest = NearestNeighbors(n_neighbors=self.k).fit(in_units(rows, unit))

        def distance(outputs: Array) -> Array:
            return np.asarray(unit * nearest.kneighbors(in_units(outputs, unit))[0][:, -1])

        return LearntScore(distance, {"rows": len(rows)})
