"""Print docs/licences.md: the licence of everything that embrm needs, with its extras, as far as it is here."""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
TOOLS = {"dev", "docs"}  # extras of what develops the package, and is no part of it
HEAD = """# Licences

What an installed embrm needs at run time, with what that needs in turn, and the licence that each package states of
itself. `just licences` prints this page; embrm itself is under Apache-2.0.

| package | licence |
|---|---|
"""
FOOT = """
torch's CPU build is meant here; its CUDA builds bring NVIDIA's libraries, under NVIDIA's terms. Not installed where
this page was made, and so without a row: {absent}.
"""


def requirements(pyproject: Path = ROOT / "pyproject.toml") -> list[Requirement]:
    """Return what the project or one of its extras needs at run time."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    named = [*project["dependencies"], *(line for name, lines in extras.items() if name not in TOOLS for line in lines)]
    return [found for found in map(Requirement, named) if found.name != project["name"]]


def needed(waiting: Iterable[Requirement]) -> dict[str, str | None]:
    """Return the licence of each of the packages, and of each that one needs, by name; None where it is not here."""
    found: dict[str, str | None] = {}
    seen, left = set(), list(waiting)
    while left:
        requirement = left.pop()
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        if (name, *requirement.extras) in seen:
            continue
        seen.add((name, *requirement.extras))
        try:
            package = distribution(requirement.name)
        except PackageNotFoundError:
            found[name] = None
            continue
        found[name] = licence_of(package)
        left += _requirements(package, requirement.extras)
    return dict(sorted(found.items()))


def licence_of(package: Distribution) -> str:
    """Return what a package says of its licence: an expression, a classifier, or the first line of a text."""
    about = package.metadata
    classifiers = [line.rpartition(" :: ")[2] for line in about.get_all("Classifier") or [] if "License ::" in line]
    expression, written = ((about.get_all(name) or [""])[0] for name in ("License-Expression", "License"))
    return expression or "; ".join(classifiers) or written.strip().partition("\n")[0][:60] or _from_file(package)


def _from_file(package: Distribution) -> str:
    """Return the first line of a package's licence file, or "" where it has none."""
    for file in package.files or ():
        if re.match(r"(licen[cs]e|copying)", file.name, re.IGNORECASE):
            return file.read_text(encoding="utf-8").strip().partition("\n")[0][:60]
    return ""


def _requirements(package: Distribution, extras: Iterable[str]) -> Iterator[Requirement]:
    for requirement in map(Requirement, package.requires or ()):
        if requirement.marker is None or any(requirement.marker.evaluate({"extra": e}) for e in ("", *extras)):
            yield requirement


def main() -> int:
    """Print the page, and return 1 where a package says nothing."""
    licences = needed(requirements())
    rows = [f"| {name} | {licence or 'UNKNOWN'} |" for name, licence in licences.items() if licence is not None]
    absent = ", ".join(name for name, licence in licences.items() if licence is None)
    print(HEAD + "\n".join(rows) + "\n" + FOOT.format(absent=absent), end="")  # noqa: T201
    return 1 if "" in licences.values() else 0


if __name__ == "__main__":
    sys.exit(main())
