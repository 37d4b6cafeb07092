"""Other packages' members: found by entry points; what is wrong with one is said with its package, and only of it."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from embrm import heads
from embrm.core.registry import PluginWarning, Registry
from embrm.data.faults import RowRules
from embrm.data.texts import read_texts
from embrm.errors import DataError, PluginError, UnknownNameError
from tests.fuzz.mutations import EDGES

GOOD = """
from dataclasses import dataclass
from embrm.heads.linear import Linear

@dataclass(frozen=True, kw_only=True)
class {name}(Linear):
    '''A head of another package.'''
"""


def package(folder: Path, name: str, source: str | None, *points: str, group: str = "embrm.heads") -> None:
    """Make a distribution with one module, as an installer would leave it."""
    module = name.replace("-", "_")
    if source is not None:
        (folder / f"{module}.py").write_text(source, encoding="utf-8")
    info = folder / f"{module}-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("\n".join([f"[{group}]", *points, ""]), encoding="utf-8")


def registry() -> Registry[Any]:
    """Return the heads as a process finds them that starts now."""
    return Registry("head", "embrm.heads", str(Path(heads.__file__).parent), required=("fit_many", "restore"))


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


def test_a_member_of_another_package_is_one_of_all(site: Path) -> None:
    package(site, "plug-good", GOOD.format(name="Other"), "other = plug_good:Other")
    found = registry()
    assert set(found.names()) == {*heads.names(), "other"}
    assert found.describe("other") == "A head of another package."
    cls = found.get("other")
    assert cls is found.get("other")
    assert found.name_of(cls()) == "other"
    assert found.find_name(object()) is None


def test_a_name_that_stands_elsewhere_is_found_by_its_class(site: Path) -> None:
    package(site, "plug-inner", GOOD.format(name="Inner"), "shown = plug_face:Inner")
    (site / "plug_face.py").write_text("from plug_inner import Inner\n")
    found = registry()
    assert found.name_of(found.get("shown")()) == "shown"


@pytest.mark.parametrize(
    ("source", "point", "message"),
    [
        (None, "bad = plug_bad:Other", "cannot be imported .ModuleNotFoundError: No module named 'plug_bad'.; repair"),
        ("import absent_dependency", "bad = plug_bad:Other", "ModuleNotFoundError: No module named 'absent_depend"),
        ("1 / 0", "bad = plug_bad:Other", "cannot be imported .ZeroDivisionError: division by zero.; repair"),
        ("x = 1", "bad = plug_bad:Other", "cannot be imported .AttributeError: .*Other"),
        ("Other = 3", "bad = plug_bad:Other", "is no dataclass; put @dataclass"),
        ("class Other: ...", "bad = plug_bad:Other", "is no dataclass; put @dataclass"),
        (
            "from dataclasses import dataclass\n@dataclass(frozen=True)\nclass Other:\n    def fit_many(self): ...",
            "bad = plug_bad:Other",
            "has no restore; a head needs fit_many, restore: add what is missing, or uninstall",
        ),
        (
            "from dataclasses import dataclass\nfrom embrm.heads import Head\n@dataclass(frozen=True)\n"
            "class Other(Head):\n    pass",
            "bad = plug_bad:Other",
            "has no fit_many and no restore; a head needs",
        ),
    ],
)
def test_what_cannot_be_used_is_named_with_its_package(
    source: str | None, point: str, message: str, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "plug_bad", raising=False)
    package(site, "plug-bad", source, point)
    found = registry()
    assert "bad" in found.names()
    with pytest.raises(
        PluginError, match=rf"^package 'plug-bad' 1\.2: the head 'bad' \(plug_bad:Other\) {message}|{message}"
    ):
        found.get("bad")
    assert found.get("linear") is heads.get("linear")
    assert isinstance(found.describe("bad"), str)


def test_a_module_that_is_not_there_is_said_in_the_list(site: Path) -> None:
    package(site, "plug-gone", None, "gone = plug_gone:Other", "inner = plug_gone.inner:Other")
    found = registry()
    assert found.describe("gone") == (
        "Cannot be imported (no module plug_gone); repair or uninstall package 'plug-gone' 1.2."
    )
    assert found.describe("inner").startswith("Cannot be imported (ModuleNotFoundError: No module named 'plug_gone')")


def test_a_built_in_is_never_replaced(site: Path) -> None:
    package(site, "plug-taker", GOOD.format(name="Mine"), "linear = plug_taker:Mine", "free = plug_taker:Mine")
    found = registry()
    with pytest.warns(PluginWarning, match=r"^package 'plug-taker' 1\.2: registers the head 'linear', which embrm has"):
        assert "linear" in found.names()
    assert found.get("linear") is heads.get("linear")
    assert found.get("free").__name__ == "Mine"


def test_a_name_of_two_packages_belongs_to_neither(site: Path) -> None:
    package(site, "plug-one", GOOD.format(name="A"), "twice = plug_one:A")
    package(site, "plug-two", GOOD.format(name="B"), "twice = plug_two:B")
    found = registry()
    message = (
        r"^package 'plug-one' 1\.2 and package 'plug-two' 1\.2: registers the head 'twice', which several packages do"
    )
    with pytest.warns(PluginWarning, match=message), pytest.raises(UnknownNameError, match="no head named 'twice'"):
        found.get("twice")


def test_the_rest_of_the_program_works(tmp_path: Path) -> None:
    site = tmp_path / "site"
    site.mkdir()
    package(site, "plug-broken", "import absent_dependency", "broken = plug_broken:X", "linear = plug_broken:X")
    rows = [{"prompt": f"p{i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(8)]
    (tmp_path / "prefs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code = (
        "from embrm.cli import run\n"
        "assert run(['list', '--json']) == 0\n"
        "fit = ['fit', 'prefs.jsonl', '--embedder', 'hashing', '--holdout', '0']\n"
        "assert run([*fit, '--head', 'linear', '-o', 'm']) == 0\n"
        "assert run([*fit, '--head', 'broken', '-o', 'n']) == 1\n"
    )
    path = os.pathsep.join([str(site), str(Path(heads.__file__).parents[2])])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stderr
    assert "error: package 'plug-broken' 1.2: the head 'broken' (plug_broken:X) cannot be imported" in done.stderr
    assert "registers the head 'linear', which embrm has itself, and is left out" in done.stdout
    assert (tmp_path / "m" / "config.json").exists()
    assert not (tmp_path / "n").exists()


LAYOUT = """
from dataclasses import dataclass
from embrm.data.layouts import RowLayout
from tests.fuzz.mutations import EDGES

@dataclass(frozen=True)
class Mine(RowLayout):
    kinds = {kinds}
    example = ({{"mine": "a"}},)
    def fits(self, columns): {fits}
    def turn(self, rows, faults, rules): {turn}
"""
FITS = "return columns.has('mine')"


def layouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let readers find the layouts as a process does that starts now."""
    found: Registry[Any] = Registry(
        "layout", "embrm.data.layouts", str(Path(heads.__file__).parents[1] / "data/layouts")
    )
    for module in ("embrm.data.layouts._find", "embrm.data.texts"):
        monkeypatch.setattr(f"{module}.registry", found)
    monkeypatch.delitem(sys.modules, "plug_rows", raising=False)


@pytest.mark.parametrize("fits", ["1 / 0", "raise SystemError", "import absent_dependency", "return columns.absent"])
def test_a_layout_that_fails_stops_no_file_of_others(
    fits: str, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = LAYOUT.format(kinds=("texts",), fits=fits, turn="yield 0, {}")
    package(site, "plug-rows", source, "mine = plug_rows:Mine", group="embrm.data.layouts")
    layouts(monkeypatch)
    (tmp_path / "texts.jsonl").write_text('{"prompt": "p", "response": "r"}\n')
    with pytest.warns(PluginWarning, match=r"^package 'plug-rows' 1\.2: the layout 'mine' failed .*it is left out"):
        assert read_texts(tmp_path / "texts.jsonl").responses == ["r"]
    with pytest.raises(PluginError, match=r"the layout 'mine' failed .*; repair the package, or uninstall it"):
        read_texts(tmp_path / "texts.jsonl", rules=RowRules(layout="mine"))


@pytest.mark.parametrize("kind", ["pairs", "pools", "texts"])
@pytest.mark.parametrize(
    "turn",
    [
        *("yield EDGES[{}]", "yield 0, EDGES[{}]", "yield EDGES[{}], rows.values[0]", "raise KeyError(EDGES[{}])"),
        "yield 0, {{'prompt': 'p', 'chosen': EDGES[{0}], 'rejected': 'b', 'responses': EDGES[{0}], "
        "'response': EDGES[{0}]}}",
        "yield 0, {{'prompt': EDGES[{0}], 'chosen': 'a', 'rejected': 'b', 'responses': ['a'], 'gold': EDGES[{0}], "
        "'response': 'r', 'weight': EDGES[{0}], 'ratings': EDGES[{0}], 'id': EDGES[{0}]}}",
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_whatever_a_layout_gives_is_read_or_refused(
    turn: str, kind: str, site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each value at the edges in each place: no exception but those of embrm."""
    (tmp_path / "rows.jsonl").write_text('{"mine": "a"}\n')
    package(site, "plug-rows", "", "mine = plug_rows:Mine", group="embrm.data.layouts")
    for edge in range(len(EDGES)):
        source = LAYOUT.format(kinds=(kind,), fits=FITS, turn=turn.format(edge))
        (site / "plug_rows.py").write_text(source, encoding="utf-8")
        layouts(monkeypatch)
        importlib.invalidate_caches()
        with contextlib.suppress(DataError, PluginError):
            read_texts(tmp_path / "rows.jsonl", rules=RowRules(layout="mine"))
