"""Verdicts that a study is expected to reproduce: a YAML file of ids."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, get_args

from embrm.core.bounds import DOCUMENT
from embrm.core.documents import read_bytes
from embrm.core.files import write_bytes
from embrm.core.yaml_files import read_yaml
from embrm.errors import DataError
from embrm.study.claims.verdict import ClaimVerdict, Finding

Expected: TypeAlias = Mapping[str, frozenset[ClaimVerdict]]
VERDICTS: tuple[ClaimVerdict, ...] = get_args(ClaimVerdict)
NOT = "not "


def read_expected(path: str | Path) -> Expected:
    """Read which verdicts after Holm's correction are expected.

    A line names a claim, or a part of where it was examined, and a verdict, a list of them, or "not" and a verdict,
    which stands for all others of claims that ran: `C1: supported`, `world/C1/biased/bon: supported`,
    `C1/fair: not supported`, `C20: [supported, negligible]`. Of several lines that speak of a finding that counts
    which names most.

    Raises:
        DataError: there is no such file, or it is no mapping of names to verdicts.
    """
    data = read_bytes(path, most=DOCUMENT)
    try:
        values = read_yaml(data.decode(), name=str(path))
    except (UnicodeDecodeError, DataError) as error:
        raise DataError(f"{path} cannot be read as YAML: {error}") from None
    if not isinstance(values, dict) or not values:
        raise DataError(f"{path} must hold lines such as `C1: supported`, got {type(values).__name__}")
    return {str(name): _verdicts(value, f"{path}: {name}") for name, value in values.items()}


def _verdicts(value: Any, where: str) -> frozenset[ClaimVerdict]:
    if isinstance(value, str) and value.startswith(NOT) and value.removeprefix(NOT) in VERDICTS[:-1]:
        return frozenset(VERDICTS[:-1]) - {value.removeprefix(NOT)}
    listed = value if isinstance(value, list) else [value]
    for verdict in listed or ["nothing"]:
        if verdict not in VERDICTS:
            raise DataError(
                f"{where}: '{verdict}' is no verdict; write one or a list of: {', '.join(VERDICTS)}; or such as "
                "'not supported'"
            )
    return frozenset(listed)


def write_expected(path: str | Path, findings: Sequence[Finding]) -> None:
    """Write the verdicts of findings as a file that `read_expected` reads."""
    several = len({finding.dataset for finding in findings}) > 1
    names = [f.name if several else f.name.removeprefix(f"{f.dataset}/") for f in findings]
    lines = [f"{name}: {finding.holm}" for name, finding in zip(names, findings, strict=True)]
    write_bytes(Path(path), ("\n".join(lines) + "\n").encode())


def differing(findings: Sequence[Finding], expected: Expected) -> list[str]:
    """Return a line for each verdict after Holm's correction that is not the expected one.

    Raises:
        DataError: something is expected that is not among the findings.
    """
    _check(findings, expected)
    lines = []
    for finding in findings:
        spoken = [name for name in expected if _speaks(name, finding)]
        if not spoken:
            continue
        wanted = expected[max(spoken, key=lambda name: name.count("/"))]
        if finding.holm not in wanted:
            listed = " or ".join(verdict for verdict in VERDICTS if verdict in wanted)
            lines.append(f"{finding.name} is {finding.holm}, expected was {listed}: {finding.reason}")
    return lines


def _speaks(name: str, finding: Finding) -> bool:
    """Return whether all parts of an expected name are parts of a finding's."""
    return set(name.split("/")) <= set(finding.name.split("/"))


def _check(findings: Sequence[Finding], expected: Expected) -> None:
    for name in expected:
        if not any(_speaks(name, finding) for finding in findings):
            known = dict.fromkeys(part for f in findings for part in (f.id, f"{f.dataset}/{f.id}", f.name))
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean '{near[0]}'?" if near else ""
            raise DataError(f"the file expects a verdict of '{name}', which is no claim of this run.{hint}")
