"""`embrm demo` as a command: what it refuses before it serves, and the page that it serves until a signal."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Result

STARTED = (sys.executable, "-c", "from embrm.cli import main; main()")
Run = Callable[..., Result]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["model"], 2, "a model of your own and its reference belong together"),
        (["--reference", "prefs.jsonl"], 2, "a model of your own and its reference belong together"),
        (["model", "--reference", "prefs.jsonl", "--static", "page.html"], 2, "leave MODEL and it out"),
        (["--host", "0.0.0.0"], 2, "can be reached from other machines; give a token"),
        (["--embedder", "minilmm"], 2, "Did you mean 'minilm'?"),
        (["nowhere", "--reference", "prefs.jsonl", "--port", "0"], 1, "nowhere is not a saved model"),
    ],
)
def test_bad_usage(arguments: list[str], code: int, message: str, embrm: Run) -> None:
    result = embrm("demo", *arguments)
    assert (result.code, message in result.err) == (code, True), result.err


def test_a_port_in_use_is_told(embrm: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = embrm("demo", "--port", str(taken.getsockname()[1]))
    assert (result.code, "already in use" in result.err) == (2, True), result.err


def test_without_the_extra_the_command_that_installs_it_is_told(embrm: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embrm.serving.find_spec", lambda name: None)
    result = embrm("demo")
    assert (result.code, "embrm demo needs starlette and uvicorn: pip install 'embrm[serve]'" in result.err) == (
        1,
        True,
    )


def test_it_serves_a_model_until_a_signal(embrm: Run, workspace: Path) -> None:
    process = subprocess.Popen(
        [*STARTED, "demo", "model", "--reference", "prefs.jsonl", "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("the page is at http://127.0.0.1:"), (line, process.communicate(timeout=30)[1])
    with urllib.request.urlopen(line.split()[4], timeout=30) as page:
        assert "Can you fool the reward?" in page.read().decode()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=30)
    assert process.returncode == 143
