"""Print constraints that pin what pyproject.toml names to the lowest version it allows: `pip install -c`.

What is not named there is resolved as usual, to the newest that goes with these.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
TOOLS = {"dev"}  # extras of what develops the package, and is no part of it


def lowest(pyproject: Path = ROOT / "pyproject.toml") -> dict[str, str]:
    """Return the lowest version of each package that the project or one of its extras needs at run time."""
    project = tomllib.loads(pyproject.read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    named = [*project["dependencies"], *(line for name, lines in extras.items() if name not in TOOLS for line in lines)]
    found: dict[str, str] = {}
    for requirement in map(Requirement, named):
        for specifier in requirement.specifier:
            if specifier.operator in (">=", "=="):
                found[requirement.name] = specifier.version
    return found


def main() -> None:
    """Print a line for each package."""
    for name, version in sorted(lowest().items()):
        print(f"{name}=={version}")  # noqa: T201


if __name__ == "__main__":
    main()
