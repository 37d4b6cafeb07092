"""Packages of strangers: what installs one, and forgets it again."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from embrm.study import datasets, experiments
from embrm.study.claims.define import CLAIMS
from embrm.study.claims.known import _plugins


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str, str, str], None]]:
    """Give what puts a package with one module and one entry point where Python finds it."""
    monkeypatch.syspath_prepend(tmp_path)
    modules = set(sys.modules)

    def install(package: str, source: str, entry_points: str) -> None:
        (tmp_path / f"{package}.py").write_text(source, encoding="utf-8")
        info = tmp_path / f"{package}-1.2.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.2\n", encoding="utf-8")
        (info / "entry_points.txt").write_text(entry_points, encoding="utf-8")
        forget()

    yield install
    for name in [name for name, entered in CLAIMS.items() if entered.measure.__module__.startswith("stranger")]:
        del CLAIMS[name]
    for name in set(sys.modules) - modules:
        if name.startswith("stranger"):
            del sys.modules[name]
    forget()


def forget() -> None:
    """Forget which plug-ins there are."""
    _plugins.cache_clear()
    for registry in (datasets.registry, experiments.registry):
        vars(registry).pop("_outside", None)
