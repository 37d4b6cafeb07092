"""Published claims as functions: each reads a study's results and returns a computed verdict.

A claim that needs what a study did not measure is "not run"; no claim may say anything that its numbers do not. What a
claim of one's own needs is here: `claim` enters a function, whose `Cells` give what `Of` a head and a `Metric` asks
for; `difference` and `equivalence` judge a `Sample` of it. Other packages' claims come through the entry points
`embrm.claims`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from embrm.core.faces import lazily
from embrm.study.claims.known import describe, get, names
from embrm.study.metric import Metric

if TYPE_CHECKING:
    from embrm.study.claims.case import Case
    from embrm.study.claims.cells import Cells, GoldCurves, GoldEnds, Of
    from embrm.study.claims.choice import ValidationChoice, choose, complete
    from embrm.study.claims.define import Claim, Measured, Scope, claim
    from embrm.study.claims.expected import Expected, differing, read_expected, write_expected
    from embrm.study.claims.fits import DatasetFits, MissingError
    from embrm.study.claims.judge import findings, heads_of, rows_of, write
    from embrm.study.claims.peaks import beyond_margin, cross_fitted, drop
    from embrm.study.claims.sample import Sample
    from embrm.study.claims.summary import (
        ClaimSummary,
        DefenceMatrix,
        helps,
        matrices,
        places,
        summaries,
    )
    from embrm.study.claims.verdict import ClaimVerdict, Finding, Part, difference, equivalence

_HOMES = {
    "case": ("Case",),
    "cells": ("Cells", "GoldCurves", "GoldEnds", "Of"),
    "choice": ("ValidationChoice", "choose", "complete"),
    "define": ("Claim", "Measured", "Scope", "claim"),
    "expected": ("Expected", "differing", "read_expected", "write_expected"),
    "fits": ("DatasetFits", "MissingError"),
    "judge": ("findings", "heads_of", "rows_of", "write"),
    "peaks": ("beyond_margin", "cross_fitted", "drop"),
    "sample": ("Sample",),
    "summary": ("ClaimSummary", "DefenceMatrix", "helps", "matrices", "places", "summaries"),
    "verdict": ("ClaimVerdict", "Finding", "Part", "difference", "equivalence"),
}
__getattr__ = lazily(__name__, {name: f"{__name__}.{home}" for home, offered in _HOMES.items() for name in offered})

__all__ = [
    "Case",
    "Cells",
    "Claim",
    "ClaimSummary",
    "ClaimVerdict",
    "DatasetFits",
    "DefenceMatrix",
    "Expected",
    "Finding",
    "GoldCurves",
    "GoldEnds",
    "Measured",
    "Metric",
    "MissingError",
    "Of",
    "Part",
    "Sample",
    "Scope",
    "ValidationChoice",
    "beyond_margin",
    "choose",
    "claim",
    "complete",
    "cross_fitted",
    "describe",
    "difference",
    "differing",
    "drop",
    "equivalence",
    "findings",
    "get",
    "heads_of",
    "helps",
    "matrices",
    "names",
    "places",
    "read_expected",
    "rows_of",
    "summaries",
    "write",
    "write_expected",
]
