"""Claims on over-optimisation itself: that it happens, what it costs, and whether its law foretells it."""

from __future__ import annotations

import numpy as np

from embrm.bestofn import kl_bound
from embrm.bestofn.scaling_law import forecaster
from embrm.core.arrays import Array
from embrm.study.claims.case import CHANNELS, CLEAN, NOISY
from embrm.study.claims.cells import Cells, Of
from embrm.study.claims.define import Measured, Scope, claim
from embrm.study.claims.fits import missing
from embrm.study.claims.halves import mean_gain_and_drop
from embrm.study.claims.peaks import drop
from embrm.study.claims.verdict import difference
from embrm.study.metric import Metric

FITTED = 64  # the largest n that the law is fitted to
GOLD = Metric("run", "gold")
FIFTHS = 5
BEST_OF_N = Scope(channels=("bon",))


@claim(
    "C1",
    "A standard reward model over-optimises: gold falls from its peak while the proxy rises",
    source="Gao et al. 2022; InfoRM 2024",
    heads=["mlp"],
    setting="The curve ends where the pool does, which may be before this head's peak.",
    scope=Scope(under="every", flips=(CLEAN, NOISY), channels=CHANNELS),
)
def falls(cells: Cells) -> Measured:
    """Drop of gold from the peak to the end of the standard head's curve."""
    curve = cells.curves(Of("mlp", cells.gold("mean")))
    fall = difference(f"drop of gold from its peak to {curve.end}", drop(cells, curve), smallest=cells.smallest)
    gained = mean_gain_and_drop(curve.gold, curve.clusters)[0]
    return [fall], f"it had gained {gained:.3g}; the proxy always rises and is no evidence{_live(cells)}"


def _live(cells: Cells) -> str:
    """Say what gold does in the training runs against the standard head, beside what its path foretells.

    A step's gold is that of few texts, so fifths of the steps are compared, averaged over the runs.
    """
    gold = [row.arrays[GOLD] for row in cells.runs("mlp") if GOLD in row.arrays]
    if min(map(len, gold), default=0) < FIFTHS:
        return ""
    parts = np.array([[np.nanmean(part) for part in np.array_split(x, FIFTHS)] for x in gold]).mean(axis=0)
    way = f"{parts[0]:.3g} in the first fifth of the steps, {parts.max():.3g} in the best, {parts[-1]:.3g} in the last"
    return f"; training runs ({len(gold)}): gold is {way}"


@claim(
    "C13",
    "Over-scoring a random 10 % of responses by one pool sd costs more than under-scoring them by as much",
    source="BRME 2024",
    heads=["mlp"],
    setting="Best-of-n takes the top of a pool, and how far apart the top scores are decides what an error costs.",
    scope=BEST_OF_N,
)
def errors_upwards(cells: Cells) -> Measured:
    """Cost of over-scoring minus cost of under-scoring, best of the largest n."""
    metrics = (Metric("sizes"), *(Metric("bon", name) for name in ("mean", "over", "under")))
    sizes, *found = cells.gather(*(Of("mlp", metric) for metric in metrics))
    values = np.stack([x[..., -1] for x in found], axis=2)
    over, under = (float((values[..., 0] - values[..., i]).mean()) for i in (1, 2))
    what = f"cost of over-scoring minus cost of under-scoring at n = {sizes[-1, 0]:g}"
    ahead = cells.mean(values[..., 2] - values[..., 1], cells.clusters(metrics[1]))
    part = difference(what, ahead, smallest=cells.smallest)
    return [part], f"they cost {over:.3g} and {under:.3g}"


@claim(
    "C17",
    "The fit from n ≤ 64 predicts gold at the largest n",
    source="Gao et al. 2022",
    heads=["mlp"],
    setting="From 64 to the largest n is less than a nat here, over which gold may stay where it was.",
    scope=BEST_OF_N,
)
def foretold(cells: Cells) -> Measured:
    """By how much the fit's error is below that of the guess that gold stays at its n = 64 value."""
    mean = Metric("bon", "mean")
    sizes, gold = cells.gather(Of("mlp", Metric("sizes")), Of("mlp", mean))
    sizes = sizes[:, 0]
    points = int((sizes <= FITTED).sum())
    if sizes[0] != 1 or points < 3 or points == len(sizes):
        asked = ", ".join(f"{n:g}" for n in sizes)
        raise missing(f"{cells.dataset} has best of {asked}; needed are 1, two more up to {FITTED}, and one above")
    errors = forecaster(kl_bound(sizes), points=points, form="bon")

    def advantage(means: list[Array]) -> Array:
        of_fit, of_flat = errors(means[0])
        return np.asarray(np.abs(of_flat) - np.abs(of_fit))

    gain = gold - gold[..., :1]
    of_fit, of_flat = (float(error[0]) for error in errors(gain.mean(axis=(0, 1))[None]))
    part = difference(
        f"error of staying at the value of n = {sizes[points - 1]:g} minus the fit's, at n = {sizes[-1]:g}",
        cells.sample([gain], advantage, clusters=[cells.clusters(mean)]),
        smallest=cells.smallest,
    )
    return [part], f"the fit is {of_fit:+.3g} off, staying {of_flat:+.3g}"
