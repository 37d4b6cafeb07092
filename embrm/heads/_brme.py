"""Stage 2 of the Bayesian reward-model ensemble: what it regresses on, and what its heads are worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from embrm.core.arrays import Array, IntArray
from embrm.core.data import Features, Pairs, Problem
from embrm.heads.gradient.head import FittedNet


class Scale(NamedTuple):
    """Mean and sd `(B,)` of the refits on the training texts; all are brought to mean 0 and the mean of the sds."""

    mean: Array
    sd: Array

    @classmethod
    def of(cls, draws: Array) -> Scale:
        """Measure `(B, n)` rewards."""
        return cls(draws.mean(axis=1, keepdims=True), np.maximum(draws.std(axis=1, keepdims=True), 1e-12))

    def targets(self, draws: Array) -> Array:
        """Return mean and variance `(n, 2)` over the refits: all that a loss quadratic in the target needs of them."""
        standard = (draws - self.mean) / self.sd * self.sd.mean()
        return np.stack([standard.mean(axis=0), standard.var(axis=0)], axis=1)


def second_problems(
    problems: Sequence[Problem], first: Sequence[FittedNet], refits: Sequence[FittedNet | None], *, frozen: bool
) -> list[Problem]:
    """Return the problems of stage 2: the trunk's output (or the features) with the targets beside it."""
    out = []
    for problem, net, ensemble in zip(problems, first, refits, strict=True):
        parts = [pairs.compact() for pairs in (problem.pairs, problem.validation) if pairs is not None]
        views = [{"trunk": net.latent(p.features)} if frozen else dict(p.features.views) for p in parts]
        if ensemble is not None:
            draws = [ensemble.score(p.features).draws for p in parts]
            scale = Scale.of(draws[0])  # of the training texts
            views = [{**v, "target": scale.targets(d)} for v, d in zip(views, draws, strict=True)]
        parts = [replace(p, features=replace(p.features, views=v)) for p, v in zip(parts, views, strict=True)]
        out.append(replace(problem, pairs=parts[0], validation=parts[1] if problem.validation else None, pools=None))
    return _stacked(out) if frozen else out


def _stacked(problems: list[Problem]) -> list[Problem]:
    """Put the texts of all problems into one features object, so that the loop can train them as one batch."""
    parts = [pairs for p in problems for pairs in (p.pairs, p.validation) if pairs is not None]
    features = Features(
        {view: np.concatenate([p.features.matrix(view) for p in parts]) for view in parts[0].features.views},
        prompt=np.concatenate([p.features.prompt for p in parts]),
        embedder=parts[0].features.embedder,
    )
    starts = np.cumsum([0, *(len(p.features) for p in parts)])
    moved = iter([_moved(p, features, int(start)) for p, start in zip(parts, starts[:-1], strict=True)])
    return [replace(p, pairs=next(moved), validation=p.validation and next(moved)) for p in problems]


def _moved(pairs: Pairs, features: Features, start: int) -> Pairs:
    return replace(pairs, features=features, chosen=pairs.chosen + start, rejected=pairs.rejected + start)


def diagnostics(
    mu: Array, sigma: Array, known: Array, *, chosen: IntArray, rejected: IntArray, floor: float, quantile: float
) -> dict[str, float]:
    """Return what the heads' means and standard deviations `(H, n)` are worth against a known reward `(n,)`.

    The known reward is first brought to the scale of the heads' mean by least squares; pairs index the n texts.
    """
    mean = mu.mean(axis=0)
    known = np.polyval(np.polyfit(known, mean, 1), known)
    error = np.abs(mu - known)
    gap = np.abs((mu[:, chosen] - mu[:, rejected]) - (known[chosen] - known[rejected]))
    width = quantile * np.sqrt(sigma[:, chosen] ** 2 + sigma[:, rejected] ** 2)
    pairs_of_heads = np.triu_indices(len(mu), 1)
    between = [_correlation(mu[i], mu[j]) for i, j in zip(*pairs_of_heads, strict=True)]
    return {
        "sigma_mean": float(sigma.mean()),
        "sigma_sd": float(sigma.std(axis=1).mean()),
        "sigma_at_floor": float((sigma < 2 * floor).mean()),
        "head_correlation": float(np.mean(between)) if between else 1.0,
        "sigma_error_correlation": float(np.mean([_correlation(s, e) for s, e in zip(sigma, error, strict=True)])),
        "coverage": float((gap <= width).mean()),
    }


def _correlation(a: Array, b: Array) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float(a @ b / max(float(np.sqrt((a @ a) * (b @ b))), 1e-300))
