"""Why a reward prefers one text: its margin, how sure it is, and the training pairs that are most alike."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from embrm.core.arrays import Array, BoolArray
from embrm.core.data import Pairs
from embrm.core.results import RewardModel
from embrm.core.views import parts
from embrm.errors import OptionError


@dataclass(frozen=True)
class Neighbour:
    """A training pair whose difference chosen − rejected points the same way, or the opposite way.

    Attributes:
        pair: its number among the training pairs.
        similarity: cosine of both differences; negative: its labels speak against the pair.
        margin: the mean reward of its chosen text minus that of its rejected one.
        share: what it adds to the margin of the pair that is explained, or None: of most heads nobody can say.
    """

    pair: int
    similarity: float
    margin: float
    share: float | None = None


@dataclass(frozen=True)
class Explanation:
    """What a model makes of one pair.

    Attributes:
        margin: mean over draws of r_chosen − r_rejected.
        sd: its standard deviation over draws (ddof 0): the members' disagreement, or the posterior's width.
        probability: that chosen is preferred.
        neighbours: the training pairs of largest |share|, or where there are none |similarity|, the largest first.
        abstains: whether the head says nothing of chosen and of rejected; most heads always say something.
    """

    margin: float
    sd: float
    probability: float
    neighbours: tuple[Neighbour, ...]
    abstains: tuple[bool, bool] = (False, False)


def explain(
    model: RewardModel,
    pairs: Pairs,
    *,
    training: Pairs,
    neighbours: int,
    view: str,
    shares: Array | None = None,
    silent: BoolArray | None = None,
) -> list[Explanation]:
    """Explain each pair, see `FittedHead.explain`.

    Args:
        model: what scores.
        pairs: `n` of them.
        training: `t` of them.
        neighbours: how many to name.
        view: in which pairs are compared, where the latent is the reward alone.
        shares: `(n, t)` what each training pair adds to a margin, where the model is made of them.
        silent: `(n, 2)` on which texts, chosen and rejected, it abstains.

    Raises:
        OptionError: `neighbours` is below 1.
    """
    if neighbours < 1:
        raise OptionError(f"neighbours must be >= 1, got {neighbours}")
    margins = _margins(model, pairs)
    learnt = _margins(model, training).mean(axis=0)
    scale = None if model.latent(training.features.take([0])).shape[1] > 1 else _scale(training, view)
    similarity = _directions(model, pairs, view, scale) @ _directions(model, training, view, scale).T
    strength = similarity if shares is None else shares
    nearest = np.argsort(-np.abs(strength), axis=1, kind="stable")[:, :neighbours]
    return [
        Explanation(
            margin=float(margins[:, i].mean()),
            sd=float(margins[:, i].std()),
            probability=float(expit(margins[:, i]).mean()),
            neighbours=tuple(
                Neighbour(
                    int(j), float(similarity[i, j]), float(learnt[j]), None if shares is None else float(shares[i, j])
                )
                for j in nearest[i]
            ),
            abstains=(False, False) if silent is None else (bool(silent[i, 0]), bool(silent[i, 1])),
        )
        for i in range(len(pairs))
    ]


def _margins(model: RewardModel, pairs: Pairs) -> Array:
    used = pairs.compact()
    draws = model.score(used.features).draws
    return np.asarray(draws[:, used.chosen] - draws[:, used.rejected])


def _scale(training: Pairs, view: str) -> Array:
    """Return the sd of each column over the training texts where views with units of their own stand side by side."""
    if len(parts(view)) == 1:
        return np.ones(1)
    sd = training.features.matrix(view)[training.rows].std(axis=0)
    return np.where(sd > 0, sd, 1.0)


def _directions(model: RewardModel, pairs: Pairs, view: str, scale: Array | None) -> Array:
    """Return unit differences `(n, k)` in the latent, or with a scale in the view; 0 where both texts are the same."""
    used = pairs.compact()
    x = model.latent(used.features) if scale is None else used.features.matrix(view) / scale
    d = x[used.chosen].astype(np.float64) - x[used.rejected]
    norm = np.linalg.norm(d, axis=1, keepdims=True)
    return np.asarray(np.divide(d, norm, out=np.zeros_like(d), where=norm > 0))
