"""Verdicts that a study is expected to reproduce: a YAML file of ids."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

from embrm.core.bounds import DOCUMENT
from embrm.core.documents import read_bytes
from embrm.core.files import write_bytes
from embrm.core.yaml_files import read_yaml
from embrm.errors import DataError
from embrm.study.claims.verdict import ClaimVerdict, Finding


def read_expected(path: str | Path) -> dict[str, ClaimVerdict]:
    """Read which verdicts are expected: `C1: supported`, or for one data set alone `world/C1: supported`.

    Raises:
        DataError: there is no such file, or it is no mapping of ids to verdicts.
    """
    try:
        values = read_yaml(read_bytes(path, most=DOCUMENT).decode(), name=str(path))
    except (UnicodeDecodeError, DataError) as error:
        raise DataError(f"{path} cannot be read as YAML: {error}") from None
    if not isinstance(values, dict) or not values:
        raise DataError(f"{path} must hold lines such as `C1: supported`, got {type(values).__name__}")
    for name, verdict in values.items():
        if verdict not in get_args(ClaimVerdict):
            raise DataError(
                f"{path}: {name}: '{verdict}' is no verdict; there are: {', '.join(get_args(ClaimVerdict))}"
            )
    return {str(name): verdict for name, verdict in values.items()}


def write_expected(path: str | Path, findings: Sequence[Finding]) -> None:
    """Write the verdicts of findings as a file that `read_expected` reads."""
    several = len({finding.dataset for finding in findings}) > 1
    lines = [f"{f'{f.dataset}/' if several else ''}{f.id}: {f.verdict}" for f in findings]
    write_bytes(Path(path), ("\n".join(lines) + "\n").encode())


def differing(findings: Sequence[Finding], expected: Mapping[str, ClaimVerdict]) -> list[str]:
    """Return a line for each verdict that is not the expected one.

    An id alone speaks of every data set that is not named with it.

    Raises:
        DataError: a claim or data set is expected that is not among the findings.
    """
    known = {name for f in findings for name in (f.id, f"{f.dataset}/{f.id}")}
    for name in expected:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise DataError(f"the file expects a verdict of '{name}', which is no claim of this run.{hint}")
    lines = []
    for finding in findings:
        name = f"{finding.dataset}/{finding.id}"
        wanted = expected.get(name, expected.get(finding.id, finding.verdict))
        if finding.verdict != wanted:
            lines.append(f"{name} is {finding.verdict}, expected was {wanted}: {finding.reason}")
    return lines
