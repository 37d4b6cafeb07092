"""Claims on ensembles: WARM, Coste, Eisenstein."""

from __future__ import annotations

from embrm.study.claims.case import CHANNELS, NOISY
from embrm.study.claims.cells import Cells, Of
from embrm.study.claims.define import Measured, Scope, claim
from embrm.study.claims.margins import DROP
from embrm.study.claims.peaks import beyond_margin, drop
from embrm.study.claims.verdict import Part, difference, equivalence


@claim(
    "C14",
    "Worst-case and uncertainty-weighted ensembles do not over-optimise under noise; the mean does",
    source="Coste et al. 2023",
    heads=["mlp", "mlp x5"],
    setting="The members share one frozen embedder and so their errors, which their disagreement then does not show.",
    scope=Scope(under="hacks", flips=(NOISY,), channels=CHANNELS),
)
def conservative(cells: Cells) -> Measured:
    """Drop below 5 % of the gain for both conservative rules, and above zero for the mean."""
    parts: list[Part] = []
    for rule in ("worst_case", "uncertainty_weighted"):
        curve = cells.curves(Of("mlp x5", cells.gold(rule)))
        what = f"drop of {rule} to {curve.end} beyond {DROP:.0%} of its gain"
        parts.append(equivalence(what, beyond_margin(cells, curve), below=0))
    curve = cells.curves(Of("mlp x5", cells.gold("mean")))
    fall = difference(f"drop of the mean to {curve.end}", drop(cells, curve), smallest=cells.smallest)
    return [*parts, fall], ""


@claim(
    "C15",
    "An ensemble across embedders beats one of equal size across seeds",
    source="after Eisenstein et al. 2023, whose members differ in pretraining",
    heads=["mlp", "embedder ensemble", "seed ensemble"],
    setting="The second embedder is far weaker than the first, and half of the ensemble has to live with it.",
    scope=Scope(channels=CHANNELS),
)
def embedders(cells: Cells) -> Measured:
    """Gold at a fixed KL of the ensemble across embedders minus that across seeds."""
    heads = ("embedder ensemble", "seed ensemble")
    found = cells.endpoints(*(Of(head, cells.gold("mean")) for head in heads))
    across, within = found.gold.mean(axis=(0, 1))
    ahead = cells.mean(found.gold[..., 0] - found.gold[..., 1], found.clusters)
    part = difference(f"gold {found.at} across embedders minus across seeds", ahead, smallest=cells.smallest)
    return [part], f"gold is {across:.3g} and {within:.3g}"


@claim(
    "C18",
    "Weight averaging beats the prediction ensemble of the same members under 25 % corruption",
    source="WARM 2024",
    heads=["mlp", "warm"],
    setting="The heads are shallow and share one start; the nearer they are to linear, the more both agree.",
    scope=Scope(flips=(NOISY,), channels=CHANNELS),
)
def averaged(cells: Cells) -> Measured:
    """Gold at a fixed KL of the averaged weights minus that of the averaged predictions."""
    found = cells.endpoints(*(Of("warm", cells.gold(rule)) for rule in ("mean", "branches")))
    ahead = cells.mean(found.gold[..., 0] - found.gold[..., 1], found.clusters)
    what = f"gold {found.at} of averaged weights minus averaged predictions"
    return [difference(what, ahead, smallest=cells.smallest)], ""
