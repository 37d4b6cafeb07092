"""Claims on step-level rewards; see `embrm.study.experiments.steps`."""

from __future__ import annotations

import numpy as np

from embrm.bestofn import AGGREGATIONS
from embrm.core.arrays import Array
from embrm.study.claims.cells import Cells, Of
from embrm.study.claims.choice import choose
from embrm.study.claims.define import Measured, Scope, claim
from embrm.study.claims.margins import RIGHT
from embrm.study.claims.verdict import difference
from embrm.study.metric import Metric

TITLE = "steps"
FAIR = Scope(under="fair")
SETTING = (
    "A step here is a sentence, and sentences stand in a random order: what is wrong with one does not follow from "
    "those before it."
)


def _right(cells: Cells, *names: str) -> list[Array]:
    """Return whether what was chosen makes no wrong statement `(prompts, seeds)`, of each way to choose."""
    return cells.gather(*(Of(TITLE, Metric("experiment", f"{TITLE}.{name}")) for name in names))


@claim("C22", "How the scores of steps are aggregated matters to what best of n chooses",
       source="Step rewards 2311.05821", heads=[TITLE], setting=SETTING, scope=FAIR)  # fmt: skip
def aggregation(cells: Cells) -> Measured:
    """Right choices of the best aggregation minus those of the worst, both named by validation topics."""
    values = np.stack(_right(cells, *AGGREGATIONS), axis=2)
    clusters = cells.clusters(Metric("experiment", f"{TITLE}.min"))
    best, worst = (choose(sign * values, range(len(AGGREGATIONS)), clusters) for sign in (1, -1))
    ahead = cells.mean(best.values + worst.values, best.clusters)
    what = f"share of right choices by '{AGGREGATIONS[best.usual]}' minus by '{AGGREGATIONS[worst.usual]}'"
    means = values[best.rest].mean(axis=(0, 1))
    listed = ", ".join(f"{name} {mean:.3f}" for name, mean in zip(AGGREGATIONS, means, strict=True))
    return [difference(what, ahead, smallest=RIGHT)], listed


@claim("C23", "A step head beats an outcome head of the same traces in best of n",
       source="Step rewards 2310.10080, 2311.05821", heads=[TITLE], setting=SETTING, scope=FAIR)  # fmt: skip
def against_outcomes(cells: Cells) -> Measured:
    """Right choices by the step reward, its aggregation named by validation topics, minus those by the outcome."""
    *values, outcome = _right(cells, *AGGREGATIONS, "outcome")
    clusters = cells.clusters(Metric("experiment", f"{TITLE}.outcome"))
    found = choose(np.stack(values, axis=2), range(len(AGGREGATIONS)), clusters)
    ahead = cells.mean(found.values - outcome[found.rest], found.clusters)
    what = f"share of right choices by steps ('{AGGREGATIONS[found.usual]}' mostly) minus by outcomes"
    return [difference(what, ahead, smallest=RIGHT)], ""


@claim("C24", "Searching by steps beats choosing whole responses at equal numbers of scored texts",
       source="Step rewards 2310.10080", heads=[TITLE], setting=SETTING, scope=FAIR)  # fmt: skip
def search(cells: Cells) -> Measured:
    """Right responses of the search minus those of the best whole response, by one reward, aggregation and budget."""
    searched, whole, any_ = _right(cells, "search", "whole", "random")
    clusters = cells.clusters(Metric("experiment", f"{TITLE}.search"))
    ahead = cells.mean(searched - whole, clusters)
    what = "share of right responses by search minus by the best of whole responses"
    return [difference(what, ahead, smallest=RIGHT)], f"of any response {any_.mean():.3f} are right"
