"""Distance to the reference in units of its own spread."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from embrm.core.arrays import Array
from embrm.core.registry import register
from embrm.detectors._calibrated import CalibratedDetector, LearntScore
from embrm.detectors._gaussian import FittedGaussian


@register
@dataclass(frozen=True, kw_only=True)
class Mahalanobis(CalibratedDetector):
    """Mahalanobis distance to the reference (shrinkage covariance) with conformal p-values.

    Its scores are the penalty of InfoRM's 2025 extension (IBL), which takes the distance unsquared in code and squared
    in one account.

    Attributes:
        squared: score the squared distance; flags and p-values stay the same.

    Examples:
        >>> import numpy as np
        >>> from embrm import detectors
        >>> rng = np.random.default_rng(0)
        >>> fitted = detectors.get("mahalanobis")().fit(rng.normal(size=(400, 3)), seed=0)
        >>> verdict = fitted.check([[0.0, 0.0, 0.0], [9.0, 9.0, 9.0]])
        >>> verdict.flagged
        array([False,  True])
        >>> verdict.scores.round()
        array([ 0., 16.])
    """

    squared: bool = False

    def learn(self, x: Array, *, seed: int) -> LearntScore:
        """Fit the Gaussian to rows `(m, k)`."""
        gaussian = FittedGaussian.fit(x)
        if self.squared:
            return LearntScore(gaussian.squared_distance, warnings=gaussian.warnings)
        return LearntScore(lambda rows: np.sqrt(gaussian.squared_distance(rows)), warnings=gaussian.warnings)
