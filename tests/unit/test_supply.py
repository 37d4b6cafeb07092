"""What the package is made of: lowest versions, licences."""

from __future__ import annotations

import importlib.util
import tomllib
from pathlib import Path
from types import ModuleType

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / ".github" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_dependency_has_a_lowest_version_below_the_tested_one() -> None:
    lowest = script("lowest_versions").lowest()
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    tested = {name.lower().replace("_", "-"): version for name, _, version in (line.partition("==") for line in lines)}
    for line in PROJECT["dependencies"]:
        name = Requirement(line).name
        assert Version(lowest[name]) <= Version(tested[name.lower()])


def test_no_allowed_sentence_transformers_runs_code_of_a_model() -> None:
    """tests/unit/test_followed_paths.py shows that the tested version refuses it; 5.0 ran it."""
    named = [*PROJECT["dependencies"], *(line for extra in PROJECT["optional-dependencies"].values() for line in extra)]
    bounds = [Requirement(line).specifier for line in named if Requirement(line).name == "sentence-transformers"]
    assert len(bounds) == 3
    assert not any(bound.contains(version) for bound in bounds for version in ("5.0.0", "5.9.9", "6.0.0"))


def test_every_dependency_says_its_licence(capsys: pytest.CaptureFixture[str]) -> None:
    module = script("licences")
    licences = module.needed([Requirement(line) for line in PROJECT["dependencies"]])
    assert len(licences) > 40
    assert [name for name, licence in licences.items() if not licence] == []
    assert [name for name, licence in licences.items() if "AGPL" in licence or "Proprietary" in licence] == []
