"""Claims on what is gained without new labels: a principle that is added, and pairs that heads label for each other."""

from __future__ import annotations

import numpy as np

from embrm.core.arrays import Array
from embrm.study.claims.cells import Cells, Of
from embrm.study.claims.define import Measured, Scope, claim
from embrm.study.claims.fits import missing
from embrm.study.claims.margins import ACCURACY, PRINCIPLE
from embrm.study.claims.verdict import Part, difference
from embrm.study.metric import Metric

ADDED = "principle"  # titles of experiments
LABELS = (250, 500)


@claim(
    "C25",
    "Under a flattery hack a principle against flattery raises gold at 2 nats without new labels, in new wordings too",
    source="SALMON 2310.05910",
    heads=[ADDED],
    setting="A small head reads the principle's vector; its embedder may not tell a principle from its negation.",
    scope=Scope(under="one"),
)
def principle_helps(cells: Cells) -> Measured:
    """Gold at 2 nats under the principle minus that of the same head without one, and minus that under its negation.

    The wordings are those of training rows and others; those of the negation are held out.
    """
    told, held_out, negation, plain = _measured(cells, ADDED, "told", "held_out", "negation", "plain")
    parts = [
        ("gold under the principle, in training wordings, minus without", told - plain),
        ("gold under the principle, in held-out wordings, minus without", held_out - plain),
        ("gold under the principle minus under its negation, held-out wordings", held_out - negation),
    ]
    levels = {"without": plain, "training wordings": told, "held-out wordings": held_out, "negation": negation}
    remark = "gold " + ", ".join(f"{name} {np.nanmean(gold):.2f}" for name, gold in levels.items())
    return [_part(cells, ADDED, what, more, PRINCIPLE) for what, more in parts], remark


@claim(
    "C27",
    "Of 250 and 500 labels with 4 000 unlabelled pairs, two heads that agree learn more than from labels or alone",
    source="Self-Consistent Internal Rewards 2502.08922",
    heads=[f"self_training {n}" for n in LABELS],
    setting="Both heads read words of one text, so that their errors are alike; the paper's two judge in other ways.",
    scope=Scope(under="fair"),
)
def agreement_helps(cells: Cells) -> Measured:
    """Accuracy of self-consistency minus that of labels alone, and of plain self-training, at each number of labels."""
    parts: list[Part] = []
    levels: list[str] = []
    for n in LABELS:
        title = f"self_training {n}"
        consistent, labels, plain = _measured(cells, title, "consistent", "labels", "plain")
        for what, other in (("labels alone", labels), ("plain self-training", plain)):
            said = f"accuracy of self-consistency minus {what}, {n} labels"
            parts.append(_part(cells, title, said, consistent - other, ACCURACY))
        shares = (f"{name} {np.mean(share):.3f}" for name, share in (("labels", labels), ("plain", plain)))
        levels.append(f"{n} labels: {', '.join(shares)}, self-consistent {np.mean(consistent):.3f}")
    return parts, "; ".join(levels)


def _measured(cells: Cells, title: str, *names: str) -> list[Array]:
    """Return measurements `(prompts, seeds)` of an experiment."""
    return cells.gather(*(Of(title, Metric("experiment", f"{title}.{name}")) for name in names))


def _part(cells: Cells, title: str, what: str, values: Array, smallest: float) -> Part:
    known = np.isfinite(values).all(axis=0)  # seeds, of which some may have no reliable path so far
    if not known.any():
        raise missing(f"'{title}' of {cells.dataset} has no reliable gold at its KL under any seed")
    clusters = cells.clusters(Metric("experiment", f"{title}.plain"))  # of the same prompts as all
    return difference(what, cells.mean(values[:, known], clusters), smallest=smallest)
