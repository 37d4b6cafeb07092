"""Why a reward prefers one text: its margin, how sure it is, and the training pairs that are most alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import expit

from embrm.errors import OptionError
from embrm.types import Array, IntArray, Pairs

if TYPE_CHECKING:
    from embrm.heads._head import FittedHead


@dataclass(frozen=True)
class Neighbour:
    """A training pair whose difference chosen − rejected points the same way, or the opposite way.

    Attributes:
        pair: its number among the training pairs.
        similarity: cosine of both differences; negative: its labels speak against the pair.
        margin: the mean reward of its chosen text minus that of its rejected one.
    """

    pair: int
    similarity: float
    margin: float


@dataclass(frozen=True)
class Explanation:
    """What a model makes of one pair.

    Attributes:
        margin: mean over draws of r_chosen − r_rejected.
        sd: its standard deviation over draws (ddof 0): the members' disagreement, or the posterior's width.
        probability: that chosen is preferred.
        neighbours: the training pairs of largest |similarity|, the most alike first.
    """

    margin: float
    sd: float
    probability: float
    neighbours: tuple[Neighbour, ...]


def explain(model: FittedHead, pairs: Pairs, *, training: Pairs, neighbours: int) -> list[Explanation]:
    """Explain each pair, see `FittedHead.explain`."""
    if neighbours < 1:
        raise OptionError(f"neighbours must be >= 1, got {neighbours}")
    margins = _margins(model, pairs)
    learnt = _margins(model, training).mean(axis=0)
    similarity = _directions(model, pairs) @ _directions(model, training).T
    nearest = np.argsort(-np.abs(similarity), axis=1, kind="stable")[:, :neighbours]
    return [
        Explanation(
            margin=float(margins[:, i].mean()),
            sd=float(margins[:, i].std()),
            probability=float(expit(margins[:, i]).mean()),
            neighbours=tuple(Neighbour(int(j), float(similarity[i, j]), float(learnt[j])) for j in nearest[i]),
        )
        for i in range(len(pairs))
    ]


def _margins(model: FittedHead, pairs: Pairs) -> Array:
    used, chosen, rejected = _used(pairs)
    draws = model.score(pairs.features.take(used)).draws
    return np.asarray(draws[:, chosen] - draws[:, rejected])


def _directions(model: FittedHead, pairs: Pairs) -> Array:
    """Return unit differences `(n, k)`, 0 where both texts are the same there."""
    used, chosen, rejected = _used(pairs)
    features = pairs.features.take(used)
    x = model.latent(features)
    if x.shape[1] == 1:
        x = features.matrix(model.head.view)
    d = x[chosen].astype(np.float64) - x[rejected]
    norm = np.linalg.norm(d, axis=1, keepdims=True)
    return np.asarray(np.divide(d, norm, out=np.zeros_like(d), where=norm > 0))


def _used(pairs: Pairs) -> tuple[IntArray, IntArray, IntArray]:
    """Return the rows that the pairs use, and chosen and rejected as indices of those."""
    rows, inverse = np.unique(np.stack([pairs.chosen, pairs.rejected]), return_inverse=True)
    chosen, rejected = inverse.reshape(2, -1)
    return rows, chosen, rejected
