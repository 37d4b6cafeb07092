"""A detector that knows what is usual for each class of prompts."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import Array, as_matrix
from embrm.core.threads import one_thread
from embrm.detectors._detector import Detector, FittedDetector
from embrm.detectors._registry import registry
from embrm.errors import OptionError


class ClassWarning(UserWarning):
    """A reference, or its part for a class of prompts, is too small for what it is to tell."""


@dataclass(frozen=True, eq=False)
class ByClass:
    """One detector for each class of the reference, and one for all of it.

    Attributes:
        whole: fitted to the whole reference; it scores rows of other classes and rows without one.
        parts: class → the detector fitted to its rows.
    """

    whole: FittedDetector
    parts: Mapping[str, FittedDetector]

    @one_thread
    def scores(self, x: npt.ArrayLike, *, classes: Sequence[str | None] | None = None) -> Array:
        """Return the score of each row `(n, k)` by the detector of its class, `(n,)`."""
        rows = as_matrix(x, name="outputs")
        known = np.array([c if c in self.parts else None for c in classes or [None] * len(rows)], dtype=object)
        out = np.empty(len(rows))
        for name in set(known.tolist()):
            mine = known == name
            verdict = (self.whole if name is None else self.parts[name]).check(rows[mine])
            out[mine] = verdict.scores
            for warning in verdict.warnings:
                warnings.warn(warning, ClassWarning, stacklevel=2)
        if self.parts and (other := int((known == None).sum())):  # noqa: E711 - elementwise
            warnings.warn(
                f"{other} of {len(rows)} rows are of no class that the reference has enough rows of; "
                "they were compared with all of it",
                ClassWarning,
                stacklevel=2,
            )
        return out


def fit_by_class(
    recipe: Detector,
    reference: npt.ArrayLike,
    *,
    classes: Sequence[str | None] | None = None,
    seed: int,
) -> ByClass:
    """Fit a detector of single rows to the reference, and to each of its classes that has more rows than columns.

    All rows are learnt from: scores need no calibration.

    Args:
        recipe: such as `mahalanobis`, whose scores are then the distances of IBL.
        reference: `(m, k)`.
        classes: `(m,)` the class of each row's prompt, or None where there are none.
        seed: of the fits.

    Raises:
        OptionError: the detector judges sets, not rows.

    Examples:
        >>> from embrm import detectors
        >>> rng = np.random.default_rng(0)
        >>> usual = np.concatenate([rng.normal(size=(50, 2)), rng.normal(size=(50, 2)) + 20])
        >>> fitted = fit_by_class(detectors.get("mahalanobis")(), usual, classes=["a"] * 50 + ["b"] * 50, seed=0)
        >>> near, far = fitted.scores([[0.0, 0.0], [0.0, 0.0]], classes=["a", "b"])
        >>> bool(near < 1 < 10 < far)
        True
    """
    plain = _uncalibrated(recipe)
    if plain is None:
        names = [name for name in registry.names() if _uncalibrated(registry.get(name)()) is not None]
        raise OptionError(
            f"the detector '{registry.name_of(recipe)}' gives no row a score by what it learnt from a "
            f"reference, which a penalty is; take {', '.join(names)}"
        )
    x = as_matrix(reference, name="reference")
    parts = {}
    for name in sorted({c for c in classes or () if c is not None}):
        mine = np.array([c == name for c in classes or ()])
        if mine.sum() > x.shape[1]:
            parts[name] = plain.fit(x[mine], seed=seed)
    return ByClass(plain.fit(x, seed=seed), parts)


def _uncalibrated(recipe: Any) -> Detector | None:
    """Return the recipe that learns from all rows and calibrates on none, or None where there is no such thing."""
    try:
        plain: Detector = replace(recipe, alpha=None)
    except (TypeError, OptionError):
        return None
    return plain
