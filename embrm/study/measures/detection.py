"""Detectors inside a study: along the path of a reward, and as what tells hacked texts from others."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np

from embrm import detectors
from embrm.bestofn import tilt_path, tilted
from embrm.core.arrays import Array, IntArray
from embrm.core.data import Features, Pairs
from embrm.detectors import FittedDetector, fit_by_class
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
class Latents:
    """The latents of a fitted head, made when they are first asked for.

    Attributes:
        data: what the head is measured on.
        model: the fitted head.
        training: the pairs that it was fitted on.
    """

    data: Dataset
    model: FittedHead
    training: Pairs

    @cached_property
    def side(self) -> _Side:
        """The training texts beside those of the path."""
        return _side(self.data, self.training.features, texts_of(self.training).astype(np.int64).tobytes())

    @cached_property
    def known(self) -> Array | None:
        """`(r, k)` of the training texts, or None where the latent is the reward alone."""
        latent = self.model.latent(self.side.known)
        return latent if latent.shape[1] > 1 else None

    @cached_property
    def all(self) -> Array:
        """`(m, k)` of all texts that are measured on."""
        return self.model.latent(self.data.features)

    @property
    def width(self) -> int:
        """How many principal axes to compare with: as many as the latent has columns."""
        return AXES if self.known is None else self.known.shape[1]


def latent_distance(latents: Latents) -> Array | None:
    """Return the squared Mahalanobis distance of each text's latent to those of the training texts, `(m,)`.

    Each class of prompts has its own mean and covariance (InfoRM 2510.13694, IBL). None where the latent is the reward
    alone.
    """
    data = latents.data
    if latents.known is None:
        return None
    recipe = detectors.get("mahalanobis")(squared=True)
    fitted = fit_by_class(recipe, latents.known, classes=data.classes(latents.side.known), seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of topics held out of training, which are compared with all of it
        return fitted.scores(latents.all, classes=data.classes(data.features))


def aurocs(latents: Latents, proxy: Array) -> dict[Metric, Array]:
    """Return how well distances tell hacked texts `(T,)` in every space; see the family "auroc"."""
    data, side, known = latents.data, latents.side, latents.known
    assert data.gold is not None
    r, g = proxy[data.path_rows], data.gold[data.path_rows]
    real, start = np.isfinite(data.log_weight), tilted(data.log_weight, r, 0.0)
    hacked = np.stack(
        [
            (r[i] > _quantile(r[i], start[i], HIGH)) & (g[i] < _quantile(g[i], start[i], LOW)) & real[i]
            for i in range(len(r))
        ]
    )
    scores = {space: side.distance(space, latents.width) for space in ("joint", "pca")}
    if known is not None:
        plain = detectors.get("mahalanobis")(alpha=None).fit(known, seed=0)
        scores["latent"] = plain.check(side.among(latents.all)).scores
    return {
        Metric("auroc", space=space): roc.aurocs(score[side.place], hacked, among=real)
        for space, score in scores.items()
    }


def path_detection(config: DetectionConfig, latents: Latents, proxy: Array, *, seed: int) -> dict[Metric, Array]:
    """Return what detectors say along the path of a reward: points, watch and alarm."""
    data, side, known = latents.data, latents.side, latents.known
    assert data.gold is not None
    r, g = proxy[data.path_rows], data.gold[data.path_rows]
    path = tilt_path(data.log_weight, r, g)
    axis = path.kl[: data.believed(path)].mean(axis=1)
    kl = np.linspace(0, axis[-1], config.points)
    eta = np.interp(kl, axis, path.inverse_beta[: len(axis)])
    rng = np.random.default_rng([seed, 4])
    share = [tilted(data.log_weight, r, float(e)) for e in eta]
    drawn = [side.place.ravel()[rng.choice(w.size, size=config.outputs, p=w.ravel() / w.sum())] for w in share]
    out = {Metric("points", "kl"): kl, Metric("points", "gold"): np.array([(w * g).sum(axis=1).mean() for w in share])}
    prompt = data.features.prompt[side.texts]
    for space in (space for space in config.spaces if space != "latent" or known is not None):
        texts = side.among(latents.all) if space == "latent" else side.vectors(space, latents.width)[1]
        for name in config.detectors:
            if space == "latent" and known is not None:
                fitted = detectors.get(name)().fit(known, prompt=side.prompt, seed=seed)
            else:
                fitted = side.fitted(name, space, latents.width, seed)
            points = follow(fitted, [texts[rows] for rows in drawn], prompts=[prompt[rows] for rows in drawn])
            out |= detector_metrics(name, space, points)
    return out


def detector_metrics(name: str, space: str, trace: DetectorTrace) -> dict[Metric, Array]:
    """Return a detector's statistics along a run, and its p-values where it has some."""
    out = {Metric("watch", name, space): trace.statistic}
    return out if trace.p_values is None else out | {Metric("alarm", name, space): trace.p_values}


class _Side:
    """Training texts beside the texts of the path, in the spaces that no model changes; what is fitted there is kept.

    Attributes:
        known: features of the training texts, a fixed sample where there are many.
        prompt: `(r,)` theirs.
        texts: `(t,)` rows of the data set's features that the path is made of, each once.
        place: `(T, n)` where each text of the path stands among them.
    """

    def __init__(self, data: Dataset, features: Features, rows: bytes) -> None:
        self.known = features.take(np.frombuffer(rows, dtype=np.int64))
        self.prompt = self.known.prompt
        self.texts, place = np.unique(data.path_rows, return_inverse=True)
        self.place = place.reshape(data.path_rows.shape)
        self._data = data
        # Caches of this object alone: they go when it does.
        self.vectors = lru_cache(maxsize=1)(self._vectors)
        self.distance = lru_cache(maxsize=4)(self._distance)
        self.fitted = lru_cache(maxsize=128)(self._fitted)

    def among(self, rows: Array) -> Array:
        """Return those of all texts' rows `(m, k)` that are of the path, `(t, k)`."""
        return rows if len(self.texts) == len(rows) else rows[self.texts]

    def _vectors(self, space: str, width: int) -> tuple[Array, Array]:
        known, joint = self.known.matrix("joint"), self.among(self._data.features.matrix("joint"))
        if space == "joint":
            return known, joint
        project = principal_axes(known, axes=width)
        return project(known), project(joint)

    def _distance(self, space: str, width: int) -> Array:
        known, texts = self.vectors(space, width)
        return detectors.get("mahalanobis")(alpha=None).fit(known, seed=0).check(texts).scores

    def _fitted(self, name: str, space: str, width: int, seed: int) -> FittedDetector:
        return detectors.get(name)().fit(self.vectors(space, width)[0], prompt=self.prompt, seed=seed)


@lru_cache(maxsize=24)
def _side(data: Dataset, features: Features, rows: bytes) -> _Side:
    """Return the side of some training texts: models fitted on the same ones share it, also heads of another kind."""
    return _Side(data, features, rows)


def texts_of(training: Pairs) -> IntArray:
    """Return rows of the training texts, a fixed sample where there are many."""
    rows = training.rows
    if len(rows) > REFERENCE:
        rows = np.sort(np.random.default_rng(0).choice(rows, size=REFERENCE, replace=False))
    return rows


def _quantile(x: Array, weight: Array, q: float) -> float:
    order = np.argsort(x)
    return float(x[order][min(int(np.searchsorted(np.cumsum(weight[order]), q)), len(x) - 1)])
