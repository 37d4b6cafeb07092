"""Claims on ensembles: WARM, Coste, Eisenstein."""

from __future__ import annotations

from embrm.study.claims.cells import Cells, Of
from embrm.study.claims.define import Measured, claim
from embrm.study.claims.peaks import MARGIN, beyond_margin, drop
from embrm.study.claims.verdict import difference, equivalence
from embrm.study.metric import Metric


@claim(
    "C14",
    "Worst-case and uncertainty-weighted ensembles do not over-optimise under noise; the mean does",
    source="Coste et al. 2023",
    heads=["mlp x5"],
    setting="The members share one frozen embedder and so their errors, which their disagreement then does not show.",
)
def conservative(cells: Cells) -> Measured:
    """Drop below 5 % of the gain for both conservative rules, and above zero for the mean."""
    parts = []
    for rule in ("worst_case", "uncertainty_weighted"):
        kl, gold = cells.paths(Of("mlp x5", Metric("path", rule)))
        what = f"drop of {rule} to {kl[-1]:.2g} nats beyond {MARGIN:.0%} of its gain"
        parts.append(equivalence(what, beyond_margin(cells, gold), below=0))
    kl, gold = cells.paths(Of("mlp x5", Metric("path", "mean")))
    parts.append(difference(f"drop of the mean to {kl[-1]:.2g} nats", drop(cells, gold)))
    return parts, ""


@claim(
    "C15",
    "An ensemble across embedders beats one of equal size across seeds",
    source="after Eisenstein et al. 2023, whose members differ in pretraining",
    heads=["embedder ensemble", "seed ensemble"],
    setting="The second embedder is far weaker than the first, and half of the ensemble has to live with it.",
)
def embedders(cells: Cells) -> Measured:
    """Gold at a fixed KL of the ensemble across embedders minus that across seeds."""
    heads = ("embedder ensemble", "seed ensemble")
    kl, gold = cells.endpoints(*(Of(head, Metric("path", "mean")) for head in heads))
    across, within = gold.mean(axis=(0, 1))
    part = difference(
        f"gold at {kl:.2g} nats across embedders minus across seeds", cells.mean(gold[..., 0] - gold[..., 1])
    )
    return [part], f"gold is {across:.3g} and {within:.3g}"


@claim(
    "C18",
    "Weight averaging beats the prediction ensemble of the same members under 25 % corruption",
    source="WARM 2024",
    heads=["warm"],
    setting="The heads are shallow and share one start; the nearer they are to linear, the more both agree.",
)
def averaged(cells: Cells) -> Measured:
    """Gold at a fixed KL of the averaged weights minus that of the averaged predictions."""
    kl, gold = cells.endpoints(Of("warm", Metric("path", "mean")), Of("warm", Metric("path", "branches")))
    part = difference(
        f"gold at {kl:.2g} nats of averaged weights minus averaged predictions", cells.mean(gold[..., 0] - gold[..., 1])
    )
    return [part], cells.best_of_n("warm", "mean", "branches")
