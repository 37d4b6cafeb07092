"""Error of a small net that predicts features it knows only from the reference."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np

from embrm.core.arrays import Array
from embrm.core.registry import register
from embrm.detectors._calibrated import CalibratedDetector, LearntScore
from embrm.detectors._detector import in_units, unit_of
from embrm.errors import DataError, OptionError


@register
@dataclass(frozen=True, kw_only=True)
class Caution(CalibratedDetector):
    """Error of a small net that predicts features from a bottlenecked input, relative to the reference.

    ||P(e) - h(e)||^2 divided by its mean on the rows that P learnt from (after 2604.04648; the form of the net and of
    its bottleneck are ours: principal components, then one hidden layer).

    Attributes:
        inputs: how many leading columns are the input e; the rest are the features h(e) to be predicted. 0: the rows
            predict themselves.
        bottleneck: principal components of the input that the net sees, at most half of its columns; fewer make it
            more cautious.
        hidden: width of the hidden layer.

    Examples:
        >>> import numpy as np
        >>> from embrm import detectors
        >>> rng = np.random.default_rng(0)
        >>> fitted = detectors.get("caution")(hidden=8).fit(rng.normal(size=(400, 4)), seed=0)
        >>> fitted.check(np.array([[0.0, 0.0, 0.0, 0.0], [9.0, -9.0, 9.0, -9.0]])).flagged
        array([False,  True])
    """

    inputs: int = 0
    bottleneck: int = 16
    hidden: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("inputs", 0), ("bottleneck", 1), ("hidden", 1)):
            if getattr(self, name) < least:
                raise OptionError(f"{name} must be at least {least}, got {getattr(self, name)}")

    def learn(self, x: Array, *, seed: int) -> LearntScore:
        """Fit the net to rows `(m, k)`.

        Raises:
            DataError: no column is left to predict, or all rows are equal.
        """
        from sklearn.decomposition import PCA
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.neural_network import MLPRegressor
        from sklearn.pipeline import make_pipeline

        if self.inputs >= x.shape[1]:
            raise DataError(f"inputs={self.inputs} leaves none of the {x.shape[1]} columns to be predicted; lower it")
        unit = unit_of(x)
        source, target = self._parts(in_units(x, unit))
        mean, scale = target.mean(axis=0), float(target.std(axis=0).mean())
        if not (scale > 0 and np.ptp(source, axis=0).max() > 0):
            raise DataError(f"the {len(x)} reference rows to learn from are all equal; a reference needs spread")
        components = min(self.bottleneck, len(x), max(source.shape[1] // 2, 1))
        net = make_pipeline(
            PCA(components, whiten=True, random_state=seed),
            MLPRegressor(hidden_layer_sizes=(self.hidden,), max_iter=200, tol=1e-3, random_state=seed),
        )
        wanted = (target - mean) / scale
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            net.fit(source, wanted[:, 0] if wanted.shape[1] == 1 else wanted)

        def error(rows: Array) -> Array:
            source, target = self._parts(in_units(rows, unit))
            gap = net.predict(source).reshape(len(rows), -1) - (target - mean) / scale
            return np.asarray((gap**2).sum(axis=1))

        usual = max(float(error(x).mean()), np.finfo(float).tiny)
        found = tuple(str(w.message) for w in caught)
        return LearntScore(
            lambda rows: error(rows) / usual, {"components": components, "reference_error": usual}, found
        )

    def _parts(self, x: Array) -> tuple[Array, Array]:
        return (x[:, : self.inputs], x[:, self.inputs :]) if self.inputs else (x, x)
