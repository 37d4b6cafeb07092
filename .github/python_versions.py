"""Print the Python versions that pyproject.toml's classifiers name, as the JSON list that a workflow's matrix takes."""

import json
import re
import sys
import tomllib
from pathlib import Path

PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def versions() -> list[str]:
    """Return the versions, oldest first."""
    classifiers = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["classifiers"]
    named = (re.fullmatch(r"Programming Language :: Python :: (3\.\d+)", line) for line in classifiers)
    return sorted((match[1] for match in named if match), key=lambda version: int(version.partition(".")[2]))


if __name__ == "__main__":
    sys.stdout.write(json.dumps(versions()) + "\n")
