"""Share of outputs that are Mahalanobis outliers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy.stats import chi2

from embrm.core.arrays import Array, BoolArray
from embrm.core.registry import register
from embrm.core.results import Verdict
from embrm.core.threads import one_thread
from embrm.detectors._calibrated import CalibratedDetector, LearntScore
from embrm.detectors._detector import FittedDetector, check_rows
from embrm.detectors._gaussian import FittedGaussian
from embrm.errors import MissingExtraError, OptionError


@register
@dataclass(frozen=True, kw_only=True)
class MOP(CalibratedDetector):
    """Mahalanobis outlier probability: the share of outputs whose distance to the reference has a p-value <= alpha.

    The released code of its source (2510.13694) takes p-values from a chi-squared distribution, which does not know
    that mean and covariance were fitted: in 75 dimensions, at a nominal 1 %, it flags about 2 % of clean Gaussian rows
    with a reference of 2000 rows and about 70 % with one of 200. After UMAP it errs to the other side, because the
    ridge of 1e-3 exceeds most variances there: at most 1.5 % of clean rows at a nominal 5 %, Gaussian or real. The
    default takes conformal p-values. The source does not say which alpha it uses.

    Attributes:
        method: "calibrated": shrinkage covariance on one half of the reference, conformal p-values from the other;
            "chi2": sample covariance of the whole reference, chi-squared p-values, on the rows as they are;
            "umap": as released: joint UMAP of reference and outputs to 75 dimensions (made anew by each check), scaled
            to 0..1, chi-squared p-values from the inner part of the reference. Needs the extra `umap`.

    Examples:
        >>> import numpy as np
        >>> from embrm import detectors
        >>> rng = np.random.default_rng(0)
        >>> fitted = detectors.get("mop")(alpha=0.05).fit(rng.normal(size=(400, 3)), seed=0)
        >>> fitted.check(np.concatenate([np.zeros((3, 3)), np.full((1, 3), 9.0)])).statistic
        0.25
    """

    method: Literal["calibrated", "chi2", "umap"] = "calibrated"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.method not in ("calibrated", "chi2", "umap"):
            raise OptionError(f"method must be one of calibrated, chi2, umap, got {self.method!r}")
        if self.alpha is None:
            raise OptionError(
                "mop is the share of p-values <= alpha, so alpha must be a number inside (0, 1), got None"
            )

    def learn(self, x: Array, *, seed: int) -> LearntScore:
        """Fit the Gaussian to rows `(m, k)`."""
        gaussian = FittedGaussian.fit(x)
        return LearntScore(gaussian.squared_distance, warnings=gaussian.warnings)

    def statistic(self, scores: Array, flagged: BoolArray | None) -> float:
        """Return the share of flagged outputs."""
        assert flagged is not None
        return float(flagged.mean())

    @one_thread
    def fit(self, reference: npt.ArrayLike, *, prompt: npt.ArrayLike | None = None, seed: int = 0) -> FittedDetector:
        """Learn the reference `(m, k)`.

        Raises:
            DataError: the reference is empty or not finite.
            OptionError: alpha is smaller than the calibration prompts allow.
        """
        if self.method == "calibrated":
            return super().fit(reference, prompt=prompt, seed=seed)
        return FittedChi2(self, check_rows(reference, prompt, name="reference")[0], seed)


@dataclass(frozen=True, eq=False)
class FittedChi2:
    """A reference `(m, k)` whose distances are taken to be chi-squared."""

    recipe: MOP
    reference: Array
    seed: int

    @one_thread
    def check(self, outputs: npt.ArrayLike, *, prompt: npt.ArrayLike | None = None) -> Verdict:
        """Score the outputs `(n, k)` by their squared distance.

        Raises:
            DataError: there are no outputs, or their width is not the reference's.
            MissingExtraError: method="umap" and umap-learn is not installed.
        """
        x, _ = check_rows(outputs, prompt, name="outputs", width=self.reference.shape[1])
        reference = self.reference
        if self.recipe.method == "umap":
            both = _umap(np.concatenate([reference, x]), seed=self.seed)
            reference, x = both[: len(reference)], both[len(reference) :]
            inner = chi2.sf(FittedGaussian.fit(reference).squared_distance(reference), reference.shape[1]) >= 0.1
            gaussian = FittedGaussian.fit(reference[inner], shrink=False, ridge=1e-3)
        else:
            gaussian = FittedGaussian.fit(reference, shrink=False)
        scores = gaussian.squared_distance(x)
        p_values, alpha = chi2.sf(scores, x.shape[1]), self.recipe.alpha
        assert alpha is not None
        flagged = p_values <= alpha
        warning = "the p-values are not calibrated: chi-squared distances with a mean and covariance that are fitted"
        details = {"method": self.recipe.method, "dimensions": x.shape[1]}
        statistic = self.recipe.statistic(scores, flagged)
        return Verdict("mop", statistic, scores, p_values, flagged, alpha, details, (warning, *gaussian.warnings))


def _umap(x: Array, *, seed: int) -> Array:
    """Return the rows in 75 UMAP dimensions (fewer where there are few rows), each scaled to 0..1."""
    try:
        from umap import UMAP
    except ImportError as error:
        raise MissingExtraError("mop with method='umap' needs umap-learn; pip install 'embrm[umap]'") from error
    components, neighbours = min(75, len(x) - 2), min(30, len(x) - 1)
    plane = UMAP(neighbours, components, metric="cosine", min_dist=0.5, random_state=seed, n_jobs=1).fit_transform(x)
    low = plane.min(axis=0)
    return np.asarray((plane - low) / np.maximum(plane.max(axis=0) - low, 1e-12))
