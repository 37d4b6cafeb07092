"""README's commands and code, run as written."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
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
    assert len(commands) == 4
    for line in commands:
        assert run(shlex.split(line)[1:]) == 0, line
    assert "p of the set" in capsys.readouterr().out


@pytest.mark.usefixtures("_checkout")
def test_the_python_prints_what_is_shown_and_chooses_better_than_chance(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = PYTHON
    assert len(block.strip().splitlines()) <= 12
    exec(compile(block, "README.md", "exec"), {})
    printed, shown = capsys.readouterr().out, next(block for language, block in BLOCKS if language == "text")
    numbers = [
        np.array([[float(x) for x in re.findall(r"\d+\.\d*", line)] for line in text.strip().splitlines()])
        for text in (printed, shown)
    ]
    np.testing.assert_allclose(numbers[0], numbers[1], atol=0.15)  # bfloat16, another BLAS
    (random, *_, fair), (_, some, *_, biased) = numbers[1]
    assert fair > random + 0.3
    assert some > random + 0.05
    assert biased < random - 0.3


def test_it_is_short_and_its_figure_is_here() -> None:
    assert len(README.encode()) <= 8192
    (picture,) = re.findall(r"!\[[^]]{30,}\]\((\S+)\)", README)
    place = "https://raw.githubusercontent.com/embrm/embrm/main/"
    assert picture.startswith(place)  # a relative address would be none on PyPI
    assert (ROOT / picture.removeprefix(place)).read_bytes().startswith(b"\x89PNG")


def test_pypi_shows_it() -> None:
    markdown = pytest.importorskip("readme_renderer.markdown", reason="pip install 'readme-renderer[md]'")
    page = markdown.render(README)
    assert page is not None
    assert "<img" in page
    assert "turning.png" in page
    assert page.count("<table>") == 1


def test_what_the_study_found_is_of_a_run_that_is_named() -> None:
    said = README.partition("<!-- findings -->")[2].partition("<!-- /findings -->")[0].strip().splitlines()
    assert said[0].startswith("- Of a run of the configuration ")
    assert [line for line in said if line.startswith("- **")]


def test_the_install_commands_are_those_of_ci() -> None:
    assert "pip install -c constraints.txt '.[offline]' && embrm study --config quick" in SHELL
    assert "pip install -c constraints.txt -e '.[dev]' && pytest -n 2" in SHELL
    recipes = (ROOT / "justfile").read_text(encoding="utf-8")  # tests/test_repository.py: .ci/run calls `just test`
    assert re.search(r'^test \*arguments:\n    pytest -n 2 "\$@"$', recipes, flags=re.MULTILINE)
    torch = re.search(r"`pip install (torch==\S+) --index-url https://download\.pytorch\.org/whl/cpu`", README)
    assert torch
    assert torch[1] in (ROOT / "constraints.txt").read_text(encoding="utf-8").split()


@pytest.mark.parametrize(("family", "registry"), [(m.__name__.rpartition(".")[2], m.registry) for m in
                                                  (heads, selectors, detectors, embedders)])  # fmt: skip
def test_every_member_is_named(family: str, registry: Registry[Any]) -> None:
    row = next(line for line in README.splitlines() if line.startswith(f"| [{family}]("))
    assert re.findall(r"`(\w+)`", row) == registry.names()
