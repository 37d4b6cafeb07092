"""The house: imports in one direction, small modules and functions, errors of one family, a quick start."""

from __future__ import annotations

import ast
import importlib
import inspect
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest

import embrm
import embrm.errors

ROOT = Path(__file__).parent.parent / "embrm"
FAMILIES = ("embedders", "heads", "selectors", "detectors", "policies")
LAYERS = (  # a module imports only from its own layer and those before it; one not named here belongs to the second
    ("arrays", "types", "outcomes", "errors"),
    ("bestofn", "registry", "files"),
    FAMILIES,
    (
        *("reading", "texts", "evaluate", "tuning", "scores", "classes", "choosing", "comparing", "noticing"),
        *("adversarial", "world", "integrations"),
    ),
    ("study",),
    ("report",),
    ("cli",),
)
LAYER = {name: i for i, names in enumerate(LAYERS) for name in names}
FILES = sorted(f for f in ROOT.rglob("*.py") if f != ROOT / "__init__.py")
TREES = {f: ast.parse(f.read_text(encoding="utf-8")) for f in FILES}
IDS = [f.relative_to(ROOT).as_posix() for f in FILES]
every_module = pytest.mark.parametrize("file", FILES, ids=IDS)


def part(file: Path) -> str:
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_parts(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            words = name.split(".")
            if words[0] == "embrm" and len(words) > 1 and list(ROOT.glob(f"{words[1]}*")):
                yield words[1], node.lineno


@every_module
def test_imports_go_one_way_and_the_families_never_meet(file: Path) -> None:
    here = part(file)
    for there, line in imported_parts(TREES[file]):
        if there != here:
            assert LAYER.get(there, 1) <= LAYER.get(here, 1), f"{file.name}:{line} imports {there}"
            assert not (here in FAMILIES and there in FAMILIES), f"{file.name}:{line}: {here} imports {there}"


def test_the_check_of_imports_sees_imports() -> None:
    tree = ast.parse(
        "from embrm import heads\nfrom embrm.cli import _render\nimport embrm.study.runner.run\nimport json"
    )
    assert [name for name, _ in imported_parts(tree)] == ["heads", "cli", "study"]


@every_module
def test_modules_have_at_most_300_lines(file: Path) -> None:
    lines = len(file.read_text(encoding="utf-8").splitlines())
    assert lines <= 300


def test_the_median_module_has_at_most_120_lines() -> None:
    assert statistics.median(len(f.read_text(encoding="utf-8").splitlines()) for f in FILES) <= 120


@every_module
def test_function_bodies_have_at_most_50_lines(file: Path) -> None:
    for node in ast.walk(TREES[file]):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1
            assert lines <= 50, f"{node.name} has {lines} lines"


def test_no_module_is_a_drawer() -> None:
    assert not [f for f in FILES if f.stem in ("utils", "util", "helpers", "misc", "common")]


def raised(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Yield the classes of exceptions that are raised; `__getattr__` has to raise AttributeError."""
    hooks = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "__getattr__"]
    exempt = {inner for hook in hooks for inner in ast.walk(hook)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node not in exempt:
            target = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            name = ast.unparse(target).rpartition(".")[2] if target else ""
            if name[:1].isupper():  # not a variable, nor a function that makes the exception
                yield name, node.lineno


def is_error(node: ast.ClassDef) -> bool:
    """Say whether a class refines an error of the library, to carry more than a message."""
    return any(hasattr(embrm.errors, ast.unparse(base)) for base in node.bases)


@every_module
def test_only_errors_of_the_library_are_raised(file: Path) -> None:
    own = {c.name for c in ast.walk(TREES[file]) if isinstance(c, ast.ClassDef) and is_error(c)}
    for name, line in raised(TREES[file]):
        assert name in own or hasattr(embrm.errors, name), f"{file.name}:{line} raises {name}"


def test_the_check_of_raises_sees_raises() -> None:
    tree = ast.parse("raise ValueError('x')\nraise KeyError\nraise\ntry:\n  f()\nexcept OSError as e:\n  raise e")
    assert [name for name, _ in raised(tree)] == ["ValueError", "KeyError"]


def test_every_public_name_is_what_it_says() -> None:
    modules = {"bestofn", "detectors", "embedders", "heads", "selectors"}
    importlib.import_module("embrm.training.tuning")
    for name in embrm.__all__:
        assert inspect.ismodule(getattr(embrm, name)) == (name in modules), name
    assert dir(embrm) == sorted(embrm.__all__)
    with pytest.raises(AttributeError, match="module 'embrm' has no attribute 'tune_all'"):
        _ = embrm.tune_all
