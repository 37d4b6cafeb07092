"""Ctrl-C in any command: exit code 130, and nothing half-written."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from embrm.core.files import write_bytes, write_file, write_folder, write_rows
from embrm.errors import OptionError

COMMANDS = {
    "embed": ["embed", "-", "-o", "new"],
    "fit": ["fit", "-", "-o", "new"],
    "score": ["score", "model", "-", "-o", "new"],
    "select": ["select", "model", "-", "-o", "new"],
    "evaluate": ["evaluate", "model", "-", "--figure", "new.svg"],
    "detect": ["detect", "model", "-", "pools.jsonl"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_an_interrupted_command_exits_with_130_and_leaves_nothing(command: str, workspace: Path) -> None:
    before = sorted(workspace.iterdir())
    # Only the interrupt can end a command whose input never does.
    process = subprocess.Popen(
        [sys.executable, "-c", "from embrm.cli import main; main()", *COMMANDS[command]],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(
            signal.SIGINT, signal.SIG_DFL
        ),  # tests in the background inherit that it is ignored
    )
    assert process.stdin is not None
    row = json.dumps({"prompt": "p", "response": "r" * 1000, "chosen": "a", "rejected": "b", "responses": ["a", "b"]})
    process.stdin.write((row + "\n").encode() * 400)  # more than a pipe holds, so it is being read when this returns
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, b"")
    assert b"Traceback" not in err
    assert err.rstrip().endswith(b"interrupted")
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
