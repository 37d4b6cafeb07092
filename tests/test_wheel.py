"""The wheel is enough: built, installed beside nothing of the checkout, and run from an empty folder."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import sysconfig
import time
import venv
from collections.abc import Callable
from pathlib import Path

import pytest

from embrm import heads
from embrm.core.version import __version__

ROOT = Path(__file__).resolve().parents[1]
Installed = Callable[..., str]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Build and install the wheel; give what runs one of the environment's programs in an empty folder."""
    room = tmp_path_factory.mktemp("wheel")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def run(*command: str | Path, cwd: Path = room) -> str:
        done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
        return done.stdout

    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", room / "dist", ".", cwd=ROOT)
    (wheel,) = (room / "dist").iterdir()
    venv.create(room / "fresh", symlinks=os.name != "nt")
    python = Path(sysconfig.get_path("scripts", "venv", {"base": str(room / "fresh")}), Path(sys.executable).name)
    run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps", wheel)
    # The dependencies are those of this environment. A path in a .pth file is read as it is: should the checkout be
    # installed there as an editable package, its own .pth file is not.
    here = run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip()
    (Path(here) / "dependencies.pth").write_text(
        f"{sysconfig.get_path('purelib')}\n{sysconfig.get_path('platlib')}\n", encoding="utf-8"
    )
    (room / "empty").mkdir()
    return lambda name, *arguments: run(python.with_name(name), *arguments, cwd=room / "empty")


@pytest.mark.slow
def test_the_package_and_its_data_are_those_of_the_wheel(installed: Installed) -> None:
    told = installed(
        "python", "-c", "import embrm; from embrm.core.data_folder import data_folder; print(embrm.__file__)\n"
        "print(data_folder())"
    ).split()  # fmt: skip
    package, data = map(Path, told)
    assert not package.is_relative_to(ROOT)
    assert data == package.parent / "_shipped"
    shipped = {file.name for file in (ROOT / "data").iterdir()}
    assert {file.name for file in data.iterdir()} == shipped


@pytest.mark.slow
def test_two_builds_give_one_wheel(tmp_path: Path) -> None:
    """Whatever the clock says: a wheel that somebody else builds of a tag is the one that was published."""
    digests = set()
    for number in range(2):
        room = tmp_path / str(number)
        command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "-o", str(room), "."]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
        assert done.returncode == 0, done.stderr
        (wheel,) = room.iterdir()
        digests.add(hashlib.sha256(wheel.read_bytes()).hexdigest())
        time.sleep(2.1)  # the resolution of times in an archive
    assert len(digests) == 1


@pytest.mark.slow
def test_it_answers(installed: Installed) -> None:
    assert __version__ in installed("embrm", "--version")
    listed = installed("embrm", "list", "heads")
    assert [name for name in heads.names() if name not in listed] == []


@pytest.mark.slow
def test_it_runs_the_study_that_a_newcomer_begins_with(installed: Installed) -> None:
    installed("embrm", "study", "--config", "quick", "-o", "run")
    assert "C1 " in installed("embrm", "claims", "run")
