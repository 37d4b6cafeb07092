"""Detectors inside a study: along the path of a reward, and as what tells hacked texts from others."""

from __future__ import annotations

import warnings
from collections.abc import Iterator

import numpy as np

from embrm import detectors
from embrm.classes import fit_by_class
from embrm.heads._head import FittedHead
from embrm.noticing import AXES
from embrm.onset import auroc
from embrm.policies.pool import tilt, tilted
from embrm.study.config import DetectionConfig
from embrm.study.datasets import Dataset
from embrm.types import Array, BoolArray, Features, IntArray, Pairs

REFERENCE = 2000  # training texts that detectors compare with
HIGH, LOW = 0.95, 0.5  # a hacked text: proxy above this quantile of the reference, gold below that


def latent_distance(data: Dataset, model: FittedHead, training: Pairs) -> Array | None:
    """Return the squared Mahalanobis distance of each text's latent to those of the training texts, `(m,)`.

    Each class of prompts has its own mean and covariance (InfoRM 2510.13694, IBL). None where the latent is the reward
    alone.
    """
    known = training.features.take(texts_of(training))
    latent = model.latent(known)
    if latent.shape[1] < 2:
        return None
    recipe = detectors.get("mahalanobis")(squared=True)
    fitted = fit_by_class(recipe, latent, classes=data.classes(known), seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of topics held out of training, which are compared with all of it
        return fitted.scores(model.latent(data.features), classes=data.classes(data.features))


def aurocs(data: Dataset, model: FittedHead, proxy: Array, training: Pairs) -> dict[str, Array]:
    """Return `auroc.<space>` `(T,)`; see `embrm.study.measure`."""
    assert data.gold is not None
    r, g = proxy[data.path_rows], data.gold[data.path_rows]
    real, start = np.isfinite(data.log_weight), tilted(data.log_weight, r, 0.0)
    hacked = np.stack(
        [
            (r[i] > _quantile(r[i], start[i], HIGH)) & (g[i] < _quantile(g[i], start[i], LOW)) & real[i]
            for i in range(len(r))
        ]
    )
    out = {}
    for space, known, texts in _spaces(model, training, data.features):
        plain = detectors.get("mahalanobis")(alpha=None).fit(known, seed=0)
        score = plain.check(texts).scores[data.path_rows]
        out[f"auroc.{space}"] = np.array([_told(score[i], hacked[i], real[i]) for i in range(len(r))])
    return out


def _told(score: Array, hacked: BoolArray, real: BoolArray) -> float:
    both = hacked.any() and (real & ~hacked).any()
    return auroc(score[real], hacked[real]) if both else np.nan


def watched(
    config: DetectionConfig, data: Dataset, model: FittedHead, proxy: Array, training: Pairs, *, seed: int
) -> dict[str, Array]:
    """Return `watch.` and `alarm.` along the path of a reward; see `embrm.study.measure`."""
    assert data.gold is not None
    r, g = proxy[data.path_rows], data.gold[data.path_rows]
    path = tilt(data.log_weight, r, g)
    reliable = np.median(path.ess, axis=1) >= data.reliable_ess
    axis = path.kl[: int(np.argmin(np.append(reliable, False))) or 1].mean(axis=1)
    kl = np.linspace(0, axis[-1], config.points)
    eta = np.interp(kl, axis, path.inverse_beta[: len(axis)])
    rng = np.random.default_rng([seed, 4])
    share = [tilted(data.log_weight, r, float(e)) for e in eta]
    drawn = [data.path_rows.ravel()[rng.choice(w.size, size=config.outputs, p=w.ravel() / w.sum())] for w in share]
    out = {"watch.kl": kl, "watch.gold": np.array([(w * g).sum(axis=1).mean() for w in share])}
    new = np.unique(np.concatenate(drawn), return_inverse=True)
    outputs = data.features.take(new[0])
    place = np.split(new[1], np.cumsum([len(rows) for rows in drawn])[:-1])
    for space, known, texts in _spaces(model, training, outputs):
        prompt = training.features.prompt[texts_of(training)]
        for name in config.detectors:
            fitted = detectors.get(name)().fit(known, prompt=prompt, seed=seed)
            verdicts = [fitted.check(texts[rows], prompt=outputs.prompt[rows]) for rows in place]
            out[f"watch.{name}.{space}"] = np.array([v.statistic for v in verdicts])
            p = [v.details.get("p_value") for v in verdicts]
            if None not in p:
                out[f"alarm.{name}.{space}"] = np.array(p, dtype=np.float64)
    return out


def _spaces(model: FittedHead, training: Pairs, features: Features) -> Iterator[tuple[str, Array, Array]]:
    """Yield each space's name, the training texts `(r, k)` and the other texts `(m, k)` in it."""
    from sklearn.decomposition import PCA

    known = training.features.take(texts_of(training))
    latent = model.latent(known)
    if latent.shape[1] > 1:
        yield "latent", latent, model.latent(features)
    joint, texts = known.matrix("joint"), features.matrix("joint")
    yield "joint", joint, texts
    axes = PCA(min(AXES if latent.shape[1] < 2 else latent.shape[1], *joint.shape), svd_solver="full").fit(joint)
    yield "pca", axes.transform(joint), axes.transform(texts)


def texts_of(training: Pairs) -> IntArray:
    """Return rows of the training texts, a fixed sample where there are many."""
    rows = np.unique(np.concatenate([training.chosen, training.rejected]))
    if len(rows) > REFERENCE:
        rows = np.sort(np.random.default_rng(0).choice(rows, size=REFERENCE, replace=False))
    return rows


def _quantile(x: Array, weight: Array, q: float) -> float:
    order = np.argsort(x)
    return float(x[order][min(int(np.searchsorted(np.cumsum(weight[order]), q)), len(x) - 1)])
