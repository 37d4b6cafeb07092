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
from embrm.study.claims.live import gold_by_kl
from embrm.study.claims.peaks import drop
from embrm.study.claims.verdict import difference
from embrm.study.metric import Metric

FITTED = 64  # the largest n that the law is fitted to
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
    live = gold_by_kl(cells, "mlp")
    return [fall], f"it had gained {gained:.3g}; the proxy always rises and is no evidence{live}"


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
