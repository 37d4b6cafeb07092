"""How many labels of preference pairs are flipped, as far as a cross-validated linear head can tell."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.sparse import coo_array
from scipy.special import expit, logit

from embrm.core.arrays import Array, IntArray
from embrm.core.data import Pairs
from embrm.errors import DataError
from embrm.evaluation.cross_validation import cross_validated, folds_of
from embrm.evaluation.pair_sums import apart
from embrm.heads.linear import Linear
from embrm.metrics.intervals import Interval, Units, stretched

ASSUMPTION = (
    "each label is flipped with one probability whatever the pair, and without flips its log-odds were those of the "
    "linear head up to a factor; what a linear head cannot see counts as flips"
)
RATES = np.linspace(0, 0.5, 101)
FACTORS = np.geomspace(0.05, 20, 49)
BINS = 256  # of held-out log-odds


def label_noise(pairs: Pairs, *, folds: int = 5, seed: int = 0, draws: int = 500, level: float = 0.95) -> Interval:
    """Estimate the share of flipped labels among the pairs that are no ties, with a bootstrap interval over prompts.

    A linear head says the log-odds z of each label when its prompt was held out. The flip rate ε and a factor a are
    chosen by maximum likelihood in P(label) = (1 − ε) σ(a z) + ε σ(−a z): labels that disagree with the head by chance
    become rare as |z| grows, and flipped ones do not (Natarajan et al. 2013, Learning with Noisy Labels, have the same
    model of flips). Two assumptions make that the flip rate: `ASSUMPTION`. Where the head knows little, the interval is
    wide. The bootstrap draws clusters where prompts have them, and repeats the estimate, not the fits.

    Args:
        pairs: at least as many prompts as folds.
        folds: in how many parts the prompts are split.
        seed: of folds and resamples.
        draws: number of resamples.
        level: coverage of the interval.

    Raises:
        DataError: there are too few prompts, or all pairs are ties.
    """
    decided = pairs if pairs.tie is None else pairs.take(np.flatnonzero(~pairs.tie)) if not pairs.tie.all() else None
    if decided is None or len(np.unique(apart(decided))) < 2 * folds:
        raise DataError(
            f"label noise needs pairs, other than ties, of at least {2 * folds} prompts or clusters of them; add pairs"
        )
    fold = folds_of(decided, folds, seed=seed)[None]
    held = cross_validated(Linear(), decided, fold, budget=1, seed=seed, done=lambda _: None)
    z = logit(np.clip(held.seen[0].p, 1e-12, 1 - 1e-12))
    count = _counted(z, apart(decided))
    n = count.shape[0]
    drawn = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws)
    loss = _losses(z)
    rates = RATES[
        ((np.vstack([np.ones(n), drawn]) @ count) @ loss).reshape(draws + 1, len(FACTORS), -1).min(1).argmin(1)
    ]
    resampled = stretched(rates[1:], Units(n), level=level)
    return Interval.of(rates[0], resampled, n=n, level=level, within=(0.0, 0.5))


def _edges(z: Array) -> Array:
    return np.unique(np.quantile(z, np.linspace(0, 1, BINS + 1)[1:-1]))


def _counted(z: Array, prompt: IntArray) -> Any:
    """Return how many pairs of each prompt, or cluster, lie in each bin of log-odds, sparse `(prompts, bins)`."""
    row, bins = np.unique(prompt, return_inverse=True)[1], np.searchsorted(_edges(z), z)
    return coo_array((np.ones(len(z)), (row, bins))).tocsr()


def _losses(z: Array) -> Array:
    """Return minus the log-likelihood of a label in each bin, `(bins, factors × rates)`."""
    bins = np.searchsorted(_edges(z), z)
    size = np.bincount(bins, minlength=int(bins.max()) + 1)
    centre = np.bincount(bins, z) / np.maximum(size, 1)
    factor = FACTORS / max(float(np.median(np.abs(z))), 1e-9)
    agree = expit(centre[:, None, None] * factor[:, None])
    return -np.log((1 - RATES) * agree + RATES * (1 - agree) + 1e-300).reshape(len(centre), -1)
