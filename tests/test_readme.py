"""README's commands and code, run as written."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import pytest

from embrm import detectors, embedders, heads, selectors
from embrm.cli import run
from embrm.core.registry import Registry

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)
SHELL = [line for language, block in BLOCKS if language == "sh" for line in block.strip().splitlines()]
PYTHON = [block for language, block in BLOCKS if language == "python"]


@pytest.fixture
def _checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder that looks like the checkout, so that what README writes does not land in the real one."""
    shutil.copytree(ROOT / "data" / "answers", tmp_path / "data" / "answers")
    monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("_checkout")
def test_the_commands_run_in_their_order(capsys: pytest.CaptureFixture[str]) -> None:
    commands = [line for line in SHELL if line.startswith("embrm")]
    assert len(commands) >= 5
    for line in commands:
        assert run(shlex.split(line)[1:]) == 0, line
    assert "inform" in capsys.readouterr().out


@pytest.mark.usefixtures("_checkout")
def test_the_python_blocks_run() -> None:
    assert PYTHON
    scope: dict[str, object] = {}
    for block in PYTHON:
        exec(compile(block, "README.md", "exec"), scope)


def test_the_install_commands_are_those_of_ci() -> None:
    assert "pip install -c constraints.txt '.[offline]' && embrm study" in SHELL
    assert "pip install -c constraints.txt -e '.[dev]' && pytest -n 2" in SHELL
    recipes = (ROOT / "justfile").read_text(encoding="utf-8")  # tests/test_repository.py: .ci/run calls `just test`
    assert re.search(r'^test \*arguments:\n    pytest -n 2 "\$@"$', recipes, flags=re.MULTILINE)
    torch = re.search(r"`pip install (torch==\S+) --index-url https://download\.pytorch\.org/whl/cpu`", README)
    assert torch
    assert torch[1] in (ROOT / "constraints.txt").read_text(encoding="utf-8").split()


@pytest.mark.parametrize(("family", "registry"), [(m.__name__.rpartition(".")[2], m.registry) for m in
                                                  (heads, selectors, detectors, embedders)])  # fmt: skip
def test_every_member_is_named(family: str, registry: Registry[Any]) -> None:
    row = next(line for line in README.splitlines() if line.startswith(f"| {family} |"))
    assert re.findall(r"`(\w+)`", row) == registry.names()
