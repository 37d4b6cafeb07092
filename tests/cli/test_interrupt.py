"""Ctrl-C, SIGTERM and SIGHUP in any command: exit codes 130, 143 and 129, and nothing half-written."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from embrm.core.files import write_bytes, write_file, write_folder, write_rows
from embrm.core.trajectory import Trajectory
from embrm.errors import OptionError
from tests.cli.test_many_clients import processor_seconds
from tests.test_ends import until

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
COMMANDS = {
    "embed": (["embed", "-", "-o", "new"], signal.SIGINT),
    "fit": (["fit", "-", "-o", "new"], signal.SIGTERM),
    "score": (["score", "model", "-", "-o", "new"], signal.SIGHUP),
    "select": (["select", "model", "-", "-o", "new"], signal.SIGTERM),
    "evaluate": (["evaluate", "model", "-", "--figure", "new.svg"], signal.SIGINT),
    "detect": (["detect", "model", "-", "pools.jsonl"], signal.SIGHUP),
}


def begin(words: list[str]) -> subprocess.Popen[bytes]:
    """Begin a command that signals end, also where the caller, such as a job in the background, ignores them."""
    return subprocess.Popen(
        [sys.executable, "-c", "from embrm.cli import main; main()", *words],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=_heed,
    )


def _heed() -> None:
    for number in ENDING:
        signal.signal(number, signal.SIG_DFL)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_interrupted_command_says_so_and_leaves_nothing(command: str, workspace: Path) -> None:
    before = sorted(workspace.iterdir())
    words, number = COMMANDS[command]
    process = begin(words)  # only the signal can end a command whose input never does
    assert process.stdin is not None
    row = json.dumps({"prompt": "p", "response": "r" * 1000, "chosen": "a", "rejected": "b", "responses": ["a", "b"]})
    process.stdin.write((row + "\n").encode() * 400)  # more than a pipe holds, so it is being read when this returns
    process.stdin.flush()
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (128 + number, b"")
    assert b"Traceback" not in err
    assert err.rstrip().endswith(b"interrupted")
    assert sorted(workspace.iterdir()) == before


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP], ids=lambda number: number.name)
def test_a_run_of_a_policy_that_is_ended_keeps_its_steps(number: signal.Signals, workspace: Path) -> None:
    process = begin(["rl", "model", "-o", "trained", "--steps", "100000", "--batch", "8"])
    steps = workspace / "trained" / "trajectory.jsonl"
    assert until(lambda: steps.exists() and steps.read_bytes().count(b"\n") > 2, 240)
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, b"Traceback" in err) == (128 + number, False)
    run = Trajectory.load(steps.parent)
    assert [step.step for step in run.steps] == list(range(len(run)))


@pytest.mark.slow
@pytest.mark.parametrize("head", [["hmc", "draws=100000"], ["mlp", "epochs=1000000", "patience=0"]], ids=str)
def test_a_fit_that_is_ended_leaves_nothing(head: list[str], workspace: Path) -> None:
    before = sorted(workspace.iterdir())
    options = [word for option in head[1:] for word in ("--set", option)]
    process = begin(["fit", "prefs.jsonl", "--embedder", "hashing", "-o", "new", "--head", head[0], *options])
    assert until(lambda: processor_seconds(process) > 8, 240)  # it has begun to fit, and would go on for hours
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, b"Traceback" in err) == (143, b"", False)
    assert sorted(workspace.iterdir()) == before


def test_an_interrupt_while_writing_keeps_what_was_there(tmp_path: Path) -> None:
    def rows() -> Iterator[dict[str, int]]:
        yield {"a": 1}
        raise KeyboardInterrupt

    target = tmp_path / "rows.jsonl"
    write_rows(target, [{"a": 0}])
    with pytest.raises(KeyboardInterrupt):
        write_rows(target, rows())
    assert target.read_text() == '{"a": 0}\n'
    assert list(tmp_path.iterdir()) == [target]


def test_an_interrupt_while_writing_a_folder_keeps_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "model"
    with write_folder(target) as part:
        write_bytes(part / "config.json", b"1")

    def interrupted() -> None:
        with write_folder(target) as part:
            write_bytes(part / "config.json", b"2")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert (target / "config.json").read_bytes() == b"1"
    assert list(tmp_path.iterdir()) == [target]
    with write_folder(target) as part:
        write_bytes(part / "config.json", b"3")
    assert (target / "config.json").read_bytes() == b"3"
    assert list(tmp_path.iterdir()) == [target]


def test_a_link_stays_and_what_it_points_to_is_written(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link.txt").symlink_to(tmp_path / "real" / "there.txt")
    with write_file(tmp_path / "link.txt") as part:
        part.write_text("x")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real" / "there.txt").read_text() == "x"


def test_folders_on_the_way_are_made(tmp_path: Path) -> None:
    write_bytes(tmp_path / "a" / "b" / "c", b"x")
    assert (tmp_path / "a" / "b" / "c").read_bytes() == b"x"
    with pytest.raises(OptionError, match="Not a directory"):
        write_bytes(tmp_path / "a" / "b" / "c" / "d", b"x")
