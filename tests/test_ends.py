"""However a study ends, its workers end too; and whatever a stranger's head does, it spoils its own cells alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml

from embrm.core.watchdog import limited
from embrm.errors import ConvergenceError
from tests.small_study import on_pool, write_pool

ROOT = Path(__file__).parent.parent

HEAD = '''
import itertools
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from embrm.core.data import Problem
from embrm.core.registry import register
from embrm.heads import FittedHead, Head


@register
@dataclass(frozen=True, kw_only=True)
class Rogue(Head):
    """A head that does what it should not."""

    act: str = "raise"

    def fit_many(self, problems: Sequence[Problem]) -> list[FittedHead]:
        if self.act == "exit":
            sys.exit(3)
        if self.act == "never":
            while True:
                try:
                    time.sleep(60)
                except Exception:
                    pass
        if self.act == "stuck":
            sum(itertools.repeat(0))  # it never looks at signals, and no other thread runs
        if self.act == "die":
            os.abort()
        if self.act == "nan":
            return [FittedNan(self, 1, p.pairs.features.embedder, np.zeros(1), {}) for p in problems]
        raise KeyError("what a stranger raises")

    def restore(self, state):
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class FittedNan(FittedHead):
    def _matrix(self, features):
        return np.zeros((len(features), 1))

    def _draws(self, x):
        return np.full((1, len(x)), np.nan)

    def _latent(self, x, member):
        return x

    def arrays(self):
        return {}
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Give a folder with pools, and a package with a head that does what it should not in `site` beside them."""
    place = tmp_path_factory.mktemp("ends")
    package, info = place / "site" / "rogue", place / "site" / "rogue-1.dist-info"
    for folder in (package, info):
        folder.mkdir(parents=True)
    (package / "__init__.py").write_text("", encoding="utf-8")
    (package / "head.py").write_text(HEAD, encoding="utf-8")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: rogue\nVersion: 1\n", encoding="utf-8")
    (info / "entry_points.txt").write_text("[embrm.heads]\nrogue = rogue.head:Rogue\n", encoding="utf-8")
    write_pool(place / "pool.jsonl", prompts=32)
    return place


def begin(place: Path, acts: list[str], *words: str) -> subprocess.Popen[str]:
    """Begin a study of `linear` and the rogue, once for each act, in a process group of its own."""
    heads = [{"name": "rogue", "title": act, "options": {"act": act}, "tuned": False} for act in acts]
    values = on_pool(place / "pool.jsonl", mechanisms={"biased": {"bias": 1.0}}) | {
        "heads": [{"name": "linear", "tuned": False, "rules": ["mean"]}, *heads],
        "datasets": [{"name": "lamps", "kind": "pool", "pool": "pool.jsonl", "embedder": "hashing"}],
    }
    (place / "study.yaml").write_text(yaml.safe_dump(values), encoding="utf-8")
    path = os.pathsep.join([str(place / "site"), str(ROOT)])
    return subprocess.Popen(
        [sys.executable, "-c", "from embrm.cli import main; main()", "study", "--config", "study.yaml", *words],
        cwd=place,
        env={**os.environ, "PYTHONPATH": path, "EMBRM_CACHE": str(place / "cache")},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )


def failures(place: Path, name: str) -> dict[str, str]:
    stored: dict[str, Any] = json.loads((place / name / "config.json").read_text(encoding="utf-8"))
    return {cell.partition(" of ")[2].partition(",")[0]: why for cell, why in stored["failures"].items()}


@pytest.mark.slow
def test_what_a_strangers_head_does_spoils_its_own_cells_alone(place: Path) -> None:
    process = begin(place, ["raise", "exit", "nan"], "-o", "spoilt", "--workers", "1")
    out, err = process.communicate(timeout=120)
    assert process.returncode == 1, err
    assert "Traceback" not in err
    found = failures(place, "spoilt")
    assert found.keys() == {"raise", "exit", "nan"}
    assert found["raise"] == "KeyError: 'what a stranger raises'"
    assert found["exit"] == "SystemExit: 3"
    assert "NaN" in found["nan"]
    assert "5 cells, 2 fits" in out  # those of linear, and the controls
    assert until(lambda: not group(process.pid), 5)
    report = (place / "spoilt" / "report.html").read_text(encoding="utf-8")
    for text in ("what a stranger raises", "SystemExit: 3"):
        assert text in report


@pytest.mark.slow
def test_a_head_that_never_ends_is_ended_and_one_that_kills_its_process_is_named(place: Path) -> None:
    process = begin(place, ["never", "stuck", "die"], "-o", "hung", "--workers", "2", "--cell-timeout", "2")
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1, err
    found = failures(place, "hung")
    assert found["never"] == "it takes longer than 2 s, and was ended (--cell-timeout)"
    assert found["stuck"] == "its worker hung for more than 2 s, and was ended (--cell-timeout)"
    assert found["die"].startswith("its worker died 3 times")
    assert "5 cells, 2 fits" in out
    assert until(lambda: not group(process.pid), 5), "processes stand after their command"


def test_what_takes_too_long_is_interrupted_and_what_does_not_is_left_alone() -> None:
    before = signal.getsignal(signal.SIGALRM)
    told = r"it takes longer than 0.05 s, and was ended \(--cell-timeout\)"
    with pytest.raises(ConvergenceError, match=told), limited(0.05):
        _deaf(5)
    with limited(0.05):
        pass
    time.sleep(0.1)
    assert signal.getsignal(signal.SIGALRM) is before
    assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)


def _deaf(seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with suppress(Exception):
            time.sleep(seconds)


def group(leader: int) -> set[int]:
    """Return the living processes of a process group."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of = stat.read_text(encoding="utf-8").rpartition(")")[2].split()[:3]
        except (OSError, ValueError):
            continue
        if int(of) == leader and state != "Z":
            found.add(int(stat.parent.name))
    return found


def workers(leader: int) -> set[int]:
    return {pid for pid in group(leader) if pid != leader and "popen_loky" in _command(pid)}


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(encoding="utf-8")
    except OSError:
        return ""


def until(true: Callable[[], Any], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if true():
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def started(place: Path, request: pytest.FixtureRequest) -> Iterator[subprocess.Popen[str]]:
    """Give a study of two workers, one of which never ends, when the other has written the rows of `linear`."""
    folder = place / f"ended{request.node.name.rpartition('[')[2].rstrip(']')}"
    process = begin(place, ["never"], "-o", folder.name, "--workers", "2")
    try:
        assert until(lambda: len(list(folder.glob("cells/*.npz"))) == 5 and len(workers(process.pid)) == 2, 120)
        yield process
    finally:
        for pid in group(process.pid):
            os.kill(pid, signal.SIGKILL)
        process.communicate()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGKILL], ids=lambda n: n.name)
def test_workers_end_with_their_study_and_what_was_finished_is_kept(
    started: subprocess.Popen[str], place: Path, number: signal.Signals
) -> None:
    os.kill(started.pid, number)  # the study alone, not its group
    start = time.monotonic()
    _, err = started.communicate(timeout=60)
    assert until(lambda: not workers(started.pid), 5 - (time.monotonic() - start)), "workers outlive their study"
    if number == signal.SIGKILL:
        assert started.returncode == -number
    else:
        assert started.returncode == 128 + number, err
        assert "interrupted" in err.splitlines()
        assert "Traceback" not in err
    assert len(list((place / f"ended{number.name}" / "cells").glob("*.npz"))) == 5


WATCHED = """
import os, subprocess, sys, time
from embrm.core.watchdog import end_with
if len(sys.argv) == 1:
    child = subprocess.Popen([sys.executable, __file__, str(os.getpid())])
    print(child.pid, flush=True)
    time.sleep(1)
    os._exit(1)
end_with(int(sys.argv[1]), at_once=False)
time.sleep(60)
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_without_the_systems_help_a_worker_ends_too(tmp_path: Path) -> None:
    (tmp_path / "watched.py").write_text(WATCHED, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(tmp_path / "watched.py")],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
        timeout=60,
    )
    child = int(done.stdout)
    assert until(lambda: "watched.py" not in _command(child), 5)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_as_ctrl_c_does_unless_it_is_ignored(number: signal.Signals) -> None:
    code = f"""
import os, signal, sys
from embrm.cli import embrm, run
import click
@click.command()
def command():
    os.kill(os.getpid(), {int(number)})
    print("goes on")
embrm.get_command = lambda context, name: command
embrm.list_commands = lambda context: ["command"]
signal.signal({int(number)}, signal.SIG_DFL)
ended = run(["command"])
signal.signal({int(number)}, signal.SIG_IGN)
print(ended, run(["command"]))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == f"goes on\n{128 + number} 0\n", done.stderr
    assert done.stderr.strip() == "interrupted"


TUNE = """
from embrm.cli import run
from embrm.cli._signals import ending_in_order
from embrm.data import read_pairs
from embrm.embedders import get
from embrm.heads.hmc import Hmc
from embrm.training.tuning import tune
with ending_in_order():
    tune(Hmc(draws=100_000), read_pairs("prefs.jsonl", embedder=get("hashing")()), budget=3, seed=0, workers=2)
"""
SLOW = ["--workers", "2", "--embedder", "hashing", "-o", "new"]
LONG = {
    "fit": ["fit", "prefs.jsonl", "--head", "ensemble", "--set", "base=hmc", "--set", "base.draws=100000", *SLOW],
    "compare": ["compare", "prefs.jsonl", "--head", "hmc:draws=100000", "--budget", "1", *SLOW[:-1], "new.md"],
    "tune": None,
}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("command", LONG)
def test_ctrl_c_ends_fits_in_several_processes_and_leaves_nothing(command: str, tmp_path: Path) -> None:
    pair = '{{"prompt": "mend lamp {0}", "chosen": "clear step {1}", "rejected": "vague {1}"}}\n'
    text = "".join(pair.format(i % 40, i) for i in range(120))
    (tmp_path / "prefs.jsonl").write_text(text, encoding="utf-8")
    words = LONG[command]
    code = TUNE if words is None else "from embrm.cli import main; main()"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *(words or [])],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "EMBRM_CACHE": str(tmp_path / "cache"), "TMPDIR": str(tmp_path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    try:
        assert until(lambda: len(workers(process.pid)) == 2 and all(map(_works, workers(process.pid))), 120)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
        out, err = process.communicate(timeout=60)
        assert until(lambda: not group(process.pid), 5), "workers outlive their command"
    finally:
        for pid in group(process.pid):
            os.kill(pid, signal.SIGKILL)
    assert out == ""
    if words is None:
        assert (process.returncode, err.splitlines()[-1]) == (-signal.SIGINT, "KeyboardInterrupt")
    else:
        assert process.returncode == 130, err
        assert err.splitlines()[-1] == "interrupted"
        assert "Traceback" not in err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["prefs.jsonl"]


def _works(worker: int) -> bool:
    """Say whether a worker has computed for longer than its imports take."""
    ticks = Path(f"/proc/{worker}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[11:13]
    return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK") > 3
