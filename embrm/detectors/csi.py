"""Clusters of outputs that lie far from every reference output."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import Array, BoolArray, IntArray
from embrm.core.progress import tracked
from embrm.core.registry import register
from embrm.core.results import Verdict
from embrm.core.threads import one_thread
from embrm.detectors._dbscan import NearestRows, dbscan, distinct, nearest
from embrm.detectors._detector import check_rows, in_units, unit_of
from embrm.errors import DataError, OptionError

_FEWEST = 100  # rows from which eps="reference" takes its percentile, where the reference has them
_DISTANCES = ("csi", "eps", "per_sample", "policy_split", "clean_split")  # of the details
_CLEAN_SETS = 20  # disjoint clean sets, each as large as the outputs, whose mean is the baseline


@register
@dataclass(frozen=True, kw_only=True)
class CSI:
    """Cluster separation index: size of each DBSCAN cluster times its distance to the nearest reference row.

    CSI = sum over labels c of |C_c| d_c, d_c the distance from the centroid of c to the nearest single reference row
    (InfoRM, 2402.09345). Even without any shift CSI per output is not 0 (about 9 in 128 dimensions), so `statistic` is
    CSI per output minus its value on a clean half of the reference's prompts, both against the other half and with
    equal numbers of rows (a mean over disjoint clean sets where the outputs are fewer); `details` has the raw CSI
    against the whole reference and all parts.

    Space, eps and the treatment of noise are not given in the paper.

    Attributes:
        space: "latent" clusters the rows as they are; "pca" their projection on the reference's first `components`
            principal axes; "tsne" a joint 2-D t-SNE of reference and outputs (made anew by each check).
        eps: radius of DBSCAN; "reference" takes the 95th percentile of the distance to the 5th nearest neighbour among
            as many reference rows as there are outputs (at least 100). A fixed number has to fit the space: 0.5 calls
            everything in 128 dimensions noise.
        noise: rows outside all clusters count as one more "cluster", are left out ("drop"), or are clusters of
            their own ("singletons").
        duplicates: "once" counts equal rows once, so that resampled texts form no clusters of their own; "count" takes
            all rows.
        min_samples: rows within eps, itself included, that make a row the core of a cluster.
        components: dimensions of space="pca".

    Examples:
        >>> import numpy as np
        >>> from embrm import detectors
        >>> rng = np.random.default_rng(0)
        >>> fitted = detectors.get("csi")().fit(rng.normal(size=(400, 2)), seed=0)
        >>> clean, far = rng.normal(size=(100, 2)), rng.normal(size=(100, 2)) + 20
        >>> [fitted.check(rows).statistic > 5 for rows in (clean, far)]
        [False, True]
    """

    space: Literal["latent", "pca", "tsne"] = "latent"
    eps: float | Literal["reference"] = "reference"
    noise: Literal["cluster", "drop", "singletons"] = "cluster"
    duplicates: Literal["once", "count"] = "once"
    min_samples: int = 5
    components: int = 2

    def __post_init__(self) -> None:
        choices = {
            "space": ("latent", "pca", "tsne"),
            "noise": ("cluster", "drop", "singletons"),
            "duplicates": ("once", "count"),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise OptionError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if self.eps != "reference" and not (isinstance(self.eps, int | float) and self.eps > 0):
            raise OptionError(f"eps must be 'reference' or a number > 0, got {self.eps!r}")
        for name in ("min_samples", "components"):
            if getattr(self, name) < 1:
                raise OptionError(f"{name} must be at least 1, got {getattr(self, name)}")

    @one_thread
    def fit(self, reference: npt.ArrayLike, *, prompt: npt.ArrayLike | None = None, seed: int = 0) -> FittedCSI:
        """Keep the reference `(m, k)`; half of the prompts `(m,)` become the clean split.

        Raises:
            DataError: the reference is empty, not finite, or too small for eps="reference".
        """
        x, rows = check_rows(reference, prompt, name="reference")
        prompts = np.random.default_rng(seed).permutation(np.unique(rows))
        clean = np.isin(rows, prompts[: len(prompts) // 2])
        if self.duplicates == "once":
            first = distinct(x)[0]
            x, clean = x[first], clean[first]
        if self.eps == "reference" and len(distinct(x)[0]) < 6:
            raise DataError("eps='reference' needs at least 6 distinct reference rows; pass a number or more rows")
        return FittedCSI(self, x, clean, seed)


@dataclass(frozen=True, eq=False)
class FittedCSI:
    """A reference `(m, k)` and the mask `(m,)` of its clean split."""

    recipe: CSI
    reference: Array
    clean: BoolArray
    seed: int

    @one_thread
    def check(self, outputs: npt.ArrayLike, *, prompt: npt.ArrayLike | None = None) -> Verdict:
        """Cluster the outputs `(n, k)`; a score is the distance d_c of the row's cluster (0 for dropped noise).

        Raises:
            DataError: there are no outputs, or their width is not the reference's.
        """
        x, _ = check_rows(outputs, prompt, name="outputs", width=self.reference.shape[1])
        unit = unit_of(self.reference, x)
        if unit != 1:
            return self._check_in_units(x, unit)
        first, inverse, _ = distinct(x)
        if self.recipe.duplicates == "count":
            first, inverse = np.arange(len(x)), np.arange(len(x))
        reference, rows = self._project(x[first])
        rng = np.random.default_rng(self.seed)
        raw, details = self._csi(rows, NearestRows.among(reference), eps=self._eps(reference, len(rows), rng))
        per_sample = details["csi"] / len(rows)
        details |= {"outputs": len(x), "distinct": len(distinct(x)[0]), "per_sample": per_sample}
        if not self.clean.any():
            warning = "the reference has one prompt, so there is no clean split: the statistic is CSI per output"
            return Verdict("csi", per_sample, raw[inverse], details=details, warnings=(warning,))
        near, clean = NearestRows.among(reference[~self.clean]), rng.permutation(reference[self.clean])
        size = min(len(rows), len(clean))
        eps = self._eps(reference, size, rng)
        policy = self._csi(_some(rows, size, rng), near, eps=eps)[0].mean()
        sets = clean[: len(clean) // size * size].reshape(-1, size, clean.shape[1])[:_CLEAN_SETS]
        baseline = np.mean([self._csi(one, near, eps=eps)[0].mean() for one in tracked(sets, "clean sets")])
        details |= {"split_size": size, "policy_split": float(policy), "clean_split": float(baseline)}
        return Verdict("csi", float(policy - baseline), raw[inverse], details=details)

    def _check_in_units(self, x: Array, unit: float) -> Verdict:
        """Return the verdict on rows whose squares would vanish or overflow; t-SNE's plane has units of its own."""
        size = 1.0 if self.recipe.space == "tsne" else unit
        recipe = self.recipe if self.recipe.eps == "reference" else replace(self.recipe, eps=self.recipe.eps / size)
        found = replace(self, recipe=recipe, reference=in_units(self.reference, unit)).check(in_units(x, unit))
        details = {name: value * size if name in _DISTANCES else value for name, value in found.details.items()}
        return replace(found, statistic=found.statistic * size, scores=found.scores * size, details=details)

    def _project(self, x: Array) -> tuple[Array, Array]:
        """Return reference and outputs in the recipe's space."""
        from sklearn.decomposition import PCA
        from sklearn.manifold import TSNE

        m = len(self.reference)
        if self.recipe.space == "pca":
            pca = PCA(min(self.recipe.components, *self.reference.shape), random_state=self.seed).fit(self.reference)
            return pca.transform(self.reference), pca.transform(x)
        if self.recipe.space == "tsne":
            both = np.concatenate([self.reference, x])
            tsne = TSNE(random_state=self.seed, perplexity=min(30.0, (len(both) - 1) / 3))
            plane = tsne.fit_transform(both)
            return plane[:m], plane[m:]
        return self.reference, x

    def _eps(self, reference: Array, size: int, rng: np.random.Generator) -> float:
        if self.recipe.eps != "reference":
            return self.recipe.eps
        some = _some(reference, max(size, _FEWEST), rng)
        rows = some[distinct(some)[0]]
        return float(np.percentile(nearest(rows, rows, k=6)[0][:, -1], 95))  # the nearest is the row itself

    def _csi(self, rows: Array, near: NearestRows, *, eps: float) -> tuple[Array, dict[str, Any]]:
        """Return the distance of each row's cluster to its nearest row of `near`, and CSI with its parts."""
        labels = dbscan(rows, eps=eps, min_samples=self.recipe.min_samples)
        noise, clusters = labels < 0, int(labels.max()) + 1
        if self.recipe.noise == "singletons":
            labels[noise] = clusters + np.arange(noise.sum())
        elif self.recipe.noise == "cluster":
            labels[noise] = clusters
        scores = np.zeros(len(rows))
        kept = labels >= 0
        if kept.any():
            distance = near.of(_centroids(rows[kept], labels[kept]), k=1)[0][:, 0]
            scores[kept] = distance[labels[kept]]
        details = {"csi": float(scores.sum()), "clusters": clusters, "noise": int(noise.sum()), "eps": eps}
        return scores, details


def _centroids(x: Array, labels: IntArray) -> Array:
    order, counts = np.argsort(labels, kind="stable"), np.bincount(labels)
    sums = np.add.reduceat(x[order].astype(np.float64), np.cumsum(counts) - counts, axis=0)
    return np.asarray(sums / counts[:, None])


def _some(x: Array, size: int, rng: np.random.Generator) -> Array:
    return x if size >= len(x) else x[np.sort(rng.choice(len(x), size, replace=False))]
