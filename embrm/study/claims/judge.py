"""What a study says of every claim."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from embrm.core.files import write_bytes
from embrm.core.progress import tracked
from embrm.study.claims.define import DRAWS
from embrm.study.claims.holm import holm
from embrm.study.claims.known import get, names
from embrm.study.claims.verdict import Finding
from embrm.study.results import Results


def heads_of(name: str) -> frozenset[str]:
    """Return the titles of the heads that a claim reads, as patterns of `fnmatch`: "mlp", "inform beta=*".

    >>> sorted(heads_of("C4"))
    ['inform', 'mlp']

    Raises:
        UnknownNameError: there is no such claim.
    """
    return get(name).heads


def findings(results: Results, *, draws: int = DRAWS) -> list[Finding]:
    """Return what a study says of every claim, for each of its data sets, in each case that they have.

    All rows of a data set's claims are corrected together, but those of a claim that compares many defences: they are
    a family of their own, and would take from the other claims what they need.

    Args:
        results: of the study, finished or not.
        draws: of every bootstrap.
    """
    found: list[Finding] = []
    for dataset in results.config.datasets:
        single: list[Finding] = []
        compared: list[Finding] = []
        for name in tracked(names(), "claims"):
            claim = get(name)
            rows = claim(results, dataset.name, draws=draws)
            if claim.scope.defences:
                compared += holm(rows)
            else:
                single += rows
        order = {name: place for place, name in enumerate(names())}
        found += sorted([*holm(single), *compared], key=lambda finding: order[finding.id])
    return found


def write(found: Sequence[Finding], folder: Path, *, rows: str) -> Path:
    """Write findings to `claims.json` in a run's folder, whole or not at all, and return its path.

    Args:
        found: the findings.
        folder: of the run.
        rows: `Results.digest` of what they were found in, which each of them carries.
    """
    path = folder / "claims.json"
    findings = [asdict(finding) | {"rows": rows} for finding in found]
    write_bytes(
        path, json.dumps(findings, ensure_ascii=False, allow_nan=False, indent=1).encode() + b"\n", follow=False
    )
    return path


def rows_of(folder: Path) -> str | None:
    """Return `Results.digest` of what the findings in a run's `claims.json` were found in; None where none tells it."""
    path = folder / "claims.json"
    try:
        (rows,) = {finding["rows"] for finding in json.loads(path.read_bytes() if path.is_file() else b"[]")}
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return None
    return str(rows)
