"""Detectors inside a study: along the path of a reward, and as what tells hacked texts from others."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from embrm import detectors
from embrm.bestofn import tilt_path, tilted
from embrm.core.arrays import Array, IntArray
from embrm.core.data import Features, Pairs
from embrm.detectors import fit_by_class
from embrm.heads import FittedHead
from embrm.metrics import roc
from embrm.monitoring.spaces import AXES, principal_axes
from embrm.monitoring.trace import DetectorTrace, follow
from embrm.study.config import DetectionConfig
from embrm.study.datasets import Dataset
from embrm.study.metric import Metric

REFERENCE = 2000  # training texts that detectors compare with
HIGH, LOW = 0.95, 0.5  # a hacked text: proxy above this quantile of the reference, gold below that


@dataclass(frozen=True, eq=False)
class Sides:
    """A fitted head's training texts beside the texts of the path, in every space; each is made when it is asked for.

    Attributes:
        data: what the head is measured on.
        model: the fitted head.
        training: the pairs that it was fitted on.
    """

    data: Dataset
    model: FittedHead
    training: Pairs

    @cached_property
    def reference(self) -> Features:
        """The training texts, `r` of them: a fixed sample where there are many."""
        return self.training.features.take(texts_of(self.training))

    @cached_property
    def known(self) -> Array | None:
        """Latents `(r, k)` of the training texts, or None where the latent is the reward alone."""
        latent = self.model.latent(self.reference)
        return latent if latent.shape[1] > 1 else None

    @cached_property
    def all(self) -> Array:
        """Latents `(m, k)` of all texts that are measured on."""
        return self.model.latent(self.data.features)

    @cached_property
    def texts(self) -> IntArray:
        """`(t,)` rows of the data set's features that the path is made of, each once."""
        return np.unique(self.data.path_rows)

    @cached_property
    def place(self) -> IntArray:
        """`(T, n)` where each text of the path stands among `texts`."""
        return np.searchsorted(self.texts, self.data.path_rows)

    @property
    def spaces(self) -> list[str]:
        """The spaces that there are."""
        return ["joint", "pca", *(["latent"] if self.known is not None else [])]

    def of(self, space: str) -> tuple[Array, Array]:
        """Return the training texts `(r, k)` and those of the path `(t, k)` in a space."""
        if space == "pca":
            return self._axes
        if space == "latent":
            assert self.known is not None
            return self.known, self._of_path(self.all)
        return self.reference.matrix("joint"), self._of_path(self.data.features.matrix("joint"))

    @cached_property
    def _axes(self) -> tuple[Array, Array]:
        """As many principal axes as the latent has columns."""
        known, texts = self.of("joint")
        project = principal_axes(known, axes=AXES if self.known is None else self.known.shape[1])
        return project(known), project(texts)

    def _of_path(self, rows: Array) -> Array:
        return rows if len(self.texts) == len(rows) else rows[self.texts]


def latent_distance(sides: Sides) -> Array | None:
    """Return the squared Mahalanobis distance of each text's latent to those of the training texts, `(m,)`.

    Each class of prompts has its own mean and covariance (InfoRM 2510.13694, IBL). None where the latent is the reward
    alone.
    """
    data = sides.data
    if sides.known is None:
        return None
    recipe = detectors.get("mahalanobis")(squared=True)
    fitted = fit_by_class(recipe, sides.known, classes=data.classes(sides.reference), seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of topics held out of training, which are compared with all of it
        return fitted.scores(sides.all, classes=data.classes(data.features))


def aurocs(sides: Sides, proxy: Array) -> dict[Metric, Array]:
    """Return how well distances tell hacked texts `(T,)` in every space; see the family "auroc"."""
    data = sides.data
    assert data.gold is not None
    r, g = proxy[data.path_rows], data.gold[data.path_rows]
    real, start = np.isfinite(data.log_weight), tilted(data.log_weight, r, 0.0)
    hacked = np.stack(
        [
            (r[i] > _quantile(r[i], start[i], HIGH)) & (g[i] < _quantile(g[i], start[i], LOW)) & real[i]
            for i in range(len(r))
        ]
    )
    recipe, found = detectors.get("mahalanobis")(alpha=None), {}
    for space in sides.spaces:
        known, texts = sides.of(space)
        score = recipe.fit(known, seed=0).check(texts).scores
        found[Metric("auroc", space=space)] = roc.aurocs(score[sides.place], hacked, among=real)
    return found


def path_detection(config: DetectionConfig, sides: Sides, proxy: Array, *, seed: int) -> dict[Metric, Array]:
    """Return what detectors say along the path of a reward: points, watch and alarm."""
    data = sides.data
    assert data.gold is not None
    r, g = proxy[data.path_rows], data.gold[data.path_rows]
    path = tilt_path(data.log_weight, r, g)
    axis = path.kl[: data.believed(path)].mean(axis=1)
    kl = np.linspace(0, axis[-1], config.points)
    eta = np.interp(kl, axis, path.inverse_beta[: len(axis)])
    rng = np.random.default_rng([seed, 4])
    share = [tilted(data.log_weight, r, float(e)) for e in eta]
    drawn = [sides.place.ravel()[rng.choice(w.size, size=config.outputs, p=w.ravel() / w.sum())] for w in share]
    out = {Metric("points", "kl"): kl, Metric("points", "gold"): np.array([(w * g).sum(axis=1).mean() for w in share])}
    prompt = data.features.prompt[sides.texts]
    for space in (space for space in config.spaces if space in sides.spaces):
        known, texts = sides.of(space)
        for name in config.detectors:
            fitted = detectors.get(name)().fit(known, prompt=sides.reference.prompt, seed=seed)
            points = follow(fitted, [texts[rows] for rows in drawn], prompts=[prompt[rows] for rows in drawn])
            out |= detector_metrics(name, space, points)
    return out


def detector_metrics(name: str, space: str, trace: DetectorTrace) -> dict[Metric, Array]:
    """Return a detector's statistics along a run, and its p-values where it has some."""
    out = {Metric("watch", name, space): trace.statistic}
    return out if trace.p_values is None else out | {Metric("alarm", name, space): trace.p_values}


def texts_of(training: Pairs) -> IntArray:
    """Return rows of the training texts, a fixed sample where there are many."""
    rows = training.rows
    if len(rows) > REFERENCE:
        rows = np.sort(np.random.default_rng(0).choice(rows, size=REFERENCE, replace=False))
    return rows


def _quantile(x: Array, weight: Array, q: float) -> float:
    order = np.argsort(x)
    return float(x[order][min(int(np.searchsorted(np.cumsum(weight[order]), q)), len(x) - 1)])
