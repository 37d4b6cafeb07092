"""Print the licence of everything that an installed embrm needs, its dependencies' dependencies among it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from packaging.requirements import Requirement


def needed(name: str) -> dict[str, str]:
    """Return the licence of each package that a package needs at run time, without extras, by name."""
    found: dict[str, str] = {}
    waiting = list(_requirements(distribution(name)))
    while waiting:
        requirement = waiting.pop()
        key = re.sub(r"[-_.]+", "-", requirement).lower()
        if key in found:
            continue
        try:
            package = distribution(requirement)
        except PackageNotFoundError:  # of another system
            continue
        found[key] = licence_of(package)
        waiting += _requirements(package)
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


def _requirements(package: Distribution) -> Iterator[str]:
    for line in package.requires or ():
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
            yield requirement.name


def main() -> int:
    """Print a line for each package, and return 1 where one says nothing."""
    licences = needed("embrm")
    for name, licence in licences.items():
        print(f"{name}: {licence or 'UNKNOWN'}")  # noqa: T201
    return 0 if all(licences.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
