"""Published claims as functions: each reads a study's results and returns a computed verdict.

A claim that needs what a study did not measure is "not run". How verdicts are kept honest is in `sample` (intervals
over prompts and seeds), `peaks` (cross-fitted) and `verdict` (several parts, several claims).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from embrm.core.files import write_bytes
from embrm.errors import UnknownNameError
from embrm.study.claims import (  # noqa: F401  (importing them enters their claims)
    bottleneck,
    detection,
    ensembles,
    hacking,
    robustness,
    training,
)
from embrm.study.claims.claim import CLAIMS, DRAWS, Claim
from embrm.study.claims.expected import differing, read_expected, write_expected
from embrm.study.claims.verdict import ClaimVerdict, Finding, holm
from embrm.study.results import Results

__all__ = [
    "CLAIMS",
    "Claim",
    "ClaimVerdict",
    "Finding",
    "differing",
    "findings",
    "heads_of",
    "names",
    "read_expected",
    "write",
    "write_expected",
]


def names() -> list[str]:
    """Return the ids of all claims, in their order."""
    return sorted(CLAIMS, key=lambda name: int(name[1:]))


def heads_of(name: str) -> frozenset[str]:
    """Return the titles of the heads that a claim reads, as patterns of `fnmatch`: "mlp", "inform beta=*".

    Raises:
        UnknownNameError: there is no such claim.
    """
    if name not in CLAIMS:
        raise UnknownNameError(f"no claim named '{name}'. There are: {', '.join(names())}.")
    return CLAIMS[name].heads


def findings(results: Results, *, draws: int = DRAWS) -> list[Finding]:
    """Return what a study says of every claim, for each of its data sets.

    Args:
        results: of the study, finished or not.
        draws: of every bootstrap.
    """
    found = []
    for dataset in results.config.datasets:
        found += holm([CLAIMS[name](results, dataset.name, draws=draws) for name in names()])
    return found


def write(found: Sequence[Finding], folder: Path) -> Path:
    """Write findings to `claims.json` in a run's folder, whole or not at all, and return its path."""
    path = folder / "claims.json"
    text = json.dumps([asdict(finding) for finding in found], ensure_ascii=False, allow_nan=False, indent=1)
    write_bytes(path, text.encode() + b"\n")
    return path
