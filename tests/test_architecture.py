"""The house: rooms in an order, imports in one direction, public doors, one name for one thing, small modules.

Every check takes sources by module name, so that each is also shown to find a planted fault.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import statistics
import textwrap
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import embrm
import embrm.errors

ROOT = Path(__file__).parent.parent
ORDER = (  # a module imports only from rooms further left; rooms of one group never import each other
    ("errors",),
    ("core",),
    ("lm",),
    ("metrics",),
    ("bestofn",),
    ("embedders", "heads", "selectors", "detectors", "policies"),
    ("data",),
    ("training", "world"),
    ("evaluation",),
    ("monitoring",),
    ("serving",),
    ("integrations",),
    ("study",),
    ("report",),
    ("demo",),
    ("cli",),
)
FLOOR = {room: floor for floor, rooms in enumerate(ORDER) for room in rooms}
LOOSE = {"embrm", "embrm.errors"}  # the face, and what the library raises
OUTSIDE = ("docs", "examples", "benchmarks", "README.md", "CONTRIBUTING.md")
MOST_PARAMETERS = 8

Sources = Mapping[str, str]


def sources() -> dict[str, str]:
    """Return the source of every module by its dotted name; a package has that of its `__init__`."""
    found = {}
    for file in sorted((ROOT / "embrm").rglob("*.py")):
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        found[name] = file.read_text(encoding="utf-8")
    return found


HOUSE = sources()
TREES = {name: ast.parse(source) for name, source in HOUSE.items()}
every_module = pytest.mark.parametrize("name", list(HOUSE))


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the dotted name of all that a module imports, wherever in it."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def arrows(house: Sources) -> dict[str, set[str]]:
    """Return which modules of the house each module imports, lazily or for types alone too."""
    out: dict[str, set[str]] = {}
    for name, source in house.items():
        found = set()
        for target in imported(ast.parse(source)):
            while target and target not in house:
                target = target.rpartition(".")[0]
            found.add(target)
        out[name] = found - {"", name}
    return out


def room(name: str) -> str:
    return name.split(".")[1] if "." in name else ""


def unnamed(house: Sources) -> list[str]:
    """Return the rooms that the order does not name, and the names that are no room."""
    rooms = {room(name) for name in house} - {""}
    return sorted(rooms ^ set(FLOOR))


def wrong_way(house: Sources) -> list[str]:
    """Return the imports of a room to its right, between rooms of one group, or of the face."""
    found = []
    for name, targets in arrows(house).items():
        for target in targets:
            here, there = room(name), room(target)
            if here and here != there and (not there or FLOOR[there] >= FLOOR[here]):
                found.append(f"{name} -> {target}")
    return found


def cycles(house: Sources) -> list[list[str]]:
    """Return the modules that import each other, circle by circle (Kosaraju's two sweeps)."""
    forward = arrows(house)
    backward = defaultdict(set)
    for name, targets in forward.items():
        for target in targets:
            backward[target].add(name)

    def reach(start: str, graph: Mapping[str, set[str]], seen: set[str]) -> list[str]:
        order, stack = [], [(start, iter(sorted(graph.get(start, ()))))]
        seen.add(start)
        while stack:
            name, rest = stack[-1]
            following = next((t for t in rest if t not in seen), None)
            if following is None:
                order.append(name)
                stack.pop()
            else:
                seen.add(following)
                stack.append((following, iter(sorted(graph.get(following, ())))))
        return order

    seen: set[str] = set()
    finished = [name for start in forward if start not in seen for name in reach(start, forward, seen)]
    seen, found = set(), []
    for name in reversed(finished):
        if name not in seen:
            circle = reach(name, backward, seen)
            if len(circle) > 1:
                found.append(sorted(circle))
    return found


def loose(house: Sources) -> list[str]:
    """Return the modules that stand in no room."""
    packages = {name.rpartition(".")[0] for name in house}
    return [name for name in house if name.count(".") <= 1 and name not in packages | LOOSE]


def private(name: str, tree: ast.AST) -> list[str]:
    """Return the imports of something with an underscore out of another package."""
    found = []
    for target in imported(tree):
        words = target.split(".")
        hidden = any(word.startswith("_") and not word.startswith("__") for word in words)
        if words[0] == "embrm" and hidden and not (len(words) > 1 and words[1] == room(name)):
            found.append(f"{name} imports {target}")
    return found


def code_outside() -> Iterator[tuple[str, ast.AST]]:
    """Yield the Python of docs, examples and benchmarks, the blocks of their pages among it."""
    for place in OUTSIDE:
        path = ROOT / place
        for file in [path] if path.is_file() else sorted(path.rglob("*")):
            text = file.read_text(encoding="utf-8") if file.suffix in (".py", ".md") else ""
            blocks = [text] if file.suffix == ".py" else re.findall(r"```python\n(.*?)```", text, re.DOTALL)
            for block in blocks:
                yield file.relative_to(ROOT).as_posix(), ast.parse(textwrap.dedent(block))  # a folded one is indented


def classes(trees: Mapping[str, ast.Module]) -> dict[str, list[str]]:
    """Return the names of classes and of type aliases that several modules give to something."""
    found = defaultdict(list)
    for name, tree in trees.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found[node.name].append(name)
        for node in tree.body:
            if isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "TypeAlias":
                found[ast.unparse(node.target)].append(name)
    return {name: places for name, places in found.items() if len(places) > 1}


def crowded(tree: ast.AST) -> list[str]:
    """Return the functions with more parameters than a reader holds in mind; commands of click get theirs from it."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            names = [a.arg for a in (*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs)]
            names = [name for name in names if name not in ("self", "cls")]
            command = any("click" in ast.unparse(decorator) for decorator in node.decorator_list)
            if len(names) > MOST_PARAMETERS and not command:
                found.append(f"{node.name} takes {len(names)} parameters")
    return found


def long_bodies(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            lines = (body[-1].end_lineno or 0) - body[0].lineno + 1
            if lines > 50:
                found.append(f"{node.name} has {lines} lines")
    return found


def raised(tree: ast.Module) -> Iterator[str]:
    """Yield the classes of exceptions that are raised; what finds a module's names has to raise AttributeError."""
    hooks = [n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == "find_name"]
    exempt = {inner for hook in hooks for inner in ast.walk(hook)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node not in exempt:
            target = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            name = ast.unparse(target).rpartition(".")[2] if target else ""
            if name[:1].isupper():  # not a variable, nor a function that makes the exception
                yield name


def test_the_order_names_every_room() -> None:
    assert unnamed(HOUSE) == []
    assert unnamed({**HOUSE, "embrm.attic.boxes": ""}) == ["attic"]


def test_imports_go_one_way_and_the_families_never_meet() -> None:
    assert wrong_way(HOUSE) == []
    for name, line, found in (
        ("embrm.core.lift", "from embrm.heads import Head", "embrm.heads"),
        ("embrm.heads.lift", "def f():\n    import embrm.selectors.mean", "embrm.selectors.mean"),
        ("embrm.data.lift", "from embrm import load_model", "embrm"),
    ):
        assert wrong_way({**HOUSE, name: line}) == [f"{name} -> {found}"]


def test_no_modules_import_each_other() -> None:
    assert cycles(HOUSE) == []
    first, second = "embrm.core.chicken", "embrm.core.egg"
    lazily = "def hatch():\n    from embrm.core import chicken"
    assert cycles({**HOUSE, first: f"import {second}", second: lazily}) == [[first, second]]


def test_no_module_is_loose() -> None:
    assert loose(HOUSE) == []
    assert loose({**HOUSE, "embrm.helper": ""}) == ["embrm.helper"]


def test_every_package_says_in_two_sentences_what_belongs_there() -> None:
    for name in {name.rpartition(".")[0] for name in HOUSE} - {"", "embrm"}:
        told = ast.get_docstring(TREES[name])
        assert told, name
        assert len(re.findall(r"[.:](?:\s|$)", told)) >= 2, name


@every_module
def test_doors_are_public(name: str) -> None:
    assert private(name, TREES[name]) == []


def test_strangers_use_public_doors() -> None:
    found = [line for name, tree in code_outside() for line in private(name, tree)]
    assert found == []
    assert len(list(code_outside())) > 15


def test_the_check_of_doors_sees_doors() -> None:
    tree = ast.parse("from embrm.heads._head import Head\nfrom embrm.heads import _head\nfrom embrm.heads import Head")
    assert len(private("docs/page.md", tree)) == len(private("embrm.data.read", tree)) == 2
    assert private("embrm.heads.mlp", tree) == []


def test_no_class_name_is_used_twice() -> None:
    assert classes(TREES) == {}
    planted = {"a": ast.parse("class Step: ..."), "b": ast.parse("def f():\n    class Step: ...")}
    assert classes(planted) == {"Step": ["a", "b"]}


@every_module
def test_functions_take_few_parameters(name: str) -> None:
    assert crowded(TREES[name]) == []


def test_the_check_of_parameters_counts_them() -> None:
    many = ", ".join(f"p{i}" for i in range(9))
    assert crowded(ast.parse(f"def f({many}): ...")) == ["f takes 9 parameters"]
    assert crowded(ast.parse(f"class A:\n    def f(self, {many[4:]}): ...")) == []
    assert crowded(ast.parse(f"@click.command()\ndef f({many}): ...")) == []


@every_module
def test_modules_have_at_most_300_lines(name: str) -> None:
    assert len(HOUSE[name].splitlines()) <= 300


def test_the_median_module_has_at_most_120_lines() -> None:
    assert statistics.median(len(source.splitlines()) for source in HOUSE.values()) <= 120


@every_module
def test_function_bodies_have_at_most_50_lines(name: str) -> None:
    assert long_bodies(TREES[name]) == []


def test_the_check_of_bodies_counts_lines() -> None:
    assert long_bodies(ast.parse("def f():\n    '''Doc.'''\n" + "    x = 1\n" * 51)) == ["f has 51 lines"]


def test_no_module_is_a_drawer() -> None:
    assert not [name for name in HOUSE if name.rpartition(".")[2] in ("utils", "util", "helpers", "misc", "common")]


def is_error(node: ast.ClassDef) -> bool:
    """Say whether a class refines an error of the library, to carry more than a message."""
    return any(hasattr(embrm.errors, ast.unparse(base)) for base in node.bases)


@every_module
def test_only_errors_of_the_library_are_raised(name: str) -> None:
    own = {c.name for c in ast.walk(TREES[name]) if isinstance(c, ast.ClassDef) and is_error(c)}
    for error in raised(TREES[name]):
        assert error in own or hasattr(embrm.errors, error), f"{name} raises {error}"


def test_the_check_of_raises_sees_raises() -> None:
    tree = ast.parse("raise ValueError('x')\nraise KeyError\nraise\ntry:\n  f()\nexcept OSError as e:\n  raise e")
    assert list(raised(tree)) == ["ValueError", "KeyError"]


@pytest.mark.parametrize("name", [n for n, source in HOUSE.items() if "__all__" in source])
def test_every_public_name_is_there(name: str) -> None:
    module = importlib.import_module(name)
    for public in module.__all__:
        assert getattr(module, public) is not None, public
    assert list(module.__all__) == sorted(module.__all__)


def test_the_face_is_what_it_says() -> None:
    modules = {"bestofn", "detectors", "embedders", "heads", "selectors"}
    for name in embrm.__all__:
        assert inspect.ismodule(getattr(embrm, name)) == (name in modules), name
    assert dir(embrm) == sorted(embrm.__all__)
    with pytest.raises(AttributeError, match="module 'embrm' has no attribute 'tune_all'"):
        _ = embrm.tune_all
