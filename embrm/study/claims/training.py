"""Claims on training: objectives under noise, and what a whole study costs."""

from __future__ import annotations

import numpy as np

from embrm.study.claims.case import CLEAN, FAIR, NOISY
from embrm.study.claims.cells import Cells, Of
from embrm.study.claims.choice import complete
from embrm.study.claims.define import Measured, Scope, claim
from embrm.study.claims.fits import missing
from embrm.study.claims.margins import ACCURACY
from embrm.study.claims.sample import Sample
from embrm.study.claims.verdict import Part, difference, equivalence

FITS = 12_000
PAIR = ("mlp", "mlp classification")


@claim(
    "C16",
    "Classification-trained heads degrade less than Bradley–Terry ones as labels get noisier",
    source="Sun et al. 2024",
    heads=PAIR,
    setting="Both heads are tuned, stopped early and weight-decayed here, which already takes much of the noise away.",
    scope=Scope(under="fair"),
)
def steadier_under_noise(cells: Cells) -> Measured:
    """Accuracy that Bradley–Terry loses to the noisiest labels minus what classification loses."""
    rows = cells.fits.rows
    levels = sorted({row.cell.flips for row in rows if row.cell.head in PAIR and row.cell.flips >= NOISY})
    if not levels:
        raise missing(f"{cells.dataset} has no '{PAIR[0]}' and '{PAIR[1]}' at {NOISY:.0%} flips or more")

    def lost_more(flips: float) -> Sample:
        wanted = [Of(head, cells.accuracy, noise, FAIR) for head in PAIR for noise in (CLEAN, flips)]
        bt, bt_noisy, other, other_noisy = found = cells.gather(*wanted)
        keep = complete(*found)
        more = (bt - bt_noisy) - (other - other_noisy)
        return cells.mean(more[keep], cells.clusters(cells.accuracy)[keep])

    def judged(flips: float) -> Part:
        what = f"loss of mlp minus loss of mlp classification at {flips:.0%} flips"
        return difference(what, lost_more(flips), smallest=ACCURACY)

    at = {flips: judged(flips) for flips in levels}
    rest = "; ".join(str(part) for flips, part in at.items() if flips != levels[-1])
    return [at[levels[-1]]], rest


@claim(
    "C19",
    "A whole ensemble study of 12 000 fits takes CPU minutes",
    source="Reusing Embeddings (12 000 runs in about 6 000 core-hours, by a second-hand account)",
    heads=["*"],
    setting="Fits here come with exact curves, detectors and tuning, and the slowest heads count like the others.",
    scope=Scope(under="none"),
)
def cheap(cells: Cells) -> Measured:
    """Core-seconds of the fits with all that was measured of them, scaled to 12 000, against a stated number."""
    each = np.array([sum(row.seconds.values()) for row in cells.fits.rows])
    if len(each) < 2 or not (each > 0).all():
        raise missing(f"{cells.dataset} has no fits with times")
    others = [
        sum(row.seconds.values())
        for kind in ("tuning", "control")
        for row in cells.fits.results.select(kind=kind, dataset=cells.dataset)
    ]
    values = FITS * (each + sum(others) / len(each))
    limit = cells.fits.results.config.core_seconds
    sample = cells.mean(values[:, None], None)
    part = equivalence(f"core-seconds of {FITS} fits with scoring and curves", sample, below=limit)
    return [part], f"limit {limit:g}; {len(each)} fits were timed, tuning and controls shared among them"
