"""The claim on stress: which heads and rules are taken in less by answers that are only dressed up."""

from __future__ import annotations

import numpy as np

from embrm.study.claims.case import CLEAN, NOISY
from embrm.study.claims.cells import Cells, Of
from embrm.study.claims.define import Measured, Scope, claim
from embrm.study.claims.margins import ACCEPTED
from embrm.study.claims.verdict import difference
from embrm.study.metric import Metric

TITLE, STANDARD = "stress", "standard"
DEFENCES = ("linear", "ensemble", "worst case", "lower bound", "bottleneck", "weight averaging")


@claim(
    "C29",
    "A defence accepts answers that are only dressed up less often than the standard head",
    source="this project, after Firm or Fickle 2025 and RoMA 2025",
    heads=[TITLE],
    setting="Every head has its default options, and the answers are those of the reference policy.",
    scope=Scope(
        under="every",
        flips=(CLEAN, NOISY),
        defences=dict.fromkeys(DEFENCES, (TITLE,)),
        compares="share of dressed-up answers that the standard head accepts minus that of each defence",
    ),
)
def firm(cells: Cells) -> Measured:
    """Acceptance of padded, flattering and repeating answers by the standard head minus by a defence, paired.

    How often moves of the vectors turn preferences of either is told beside it.
    """
    names = [f"{name} {what}" for what in ("accepted", "flips") for name in (STANDARD, cells.case.defence)]
    metrics = [Metric("experiment", f"{TITLE}.{name}") for name in names]
    standard, defence, *flips = cells.gather(*(Of(TITLE, metric) for metric in metrics))
    fewer = cells.mean(standard - defence, cells.clusters(metrics[0]))
    part = difference("acceptance by the standard head minus by the defence", fewer, smallest=ACCEPTED)
    turned = [f"{np.nanmean(values):.3f}" for values in flips]
    remark = f"of all moves of vectors {turned[0]} turn a preference of the standard head, {turned[1]} one of the other"
    return [part], remark
