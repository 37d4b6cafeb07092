"""`embrm serve` as a process: it says where it listens, asks for its token, and stops cleanly."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.cli.conftest import Result

Run = Callable[..., Result]


def start(*arguments: str) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen(
        [sys.executable, "-c", "from embrm.cli import main; main()", "serve", "model", "--port", "0", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # Tests that a script starts in the background ignore it, and what they start would too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line.startswith("rewards of model at http://127.0.0.1:"), (line, process.communicate(timeout=30)[1])
    return process, line.split()[-1]


def ask(address: str, body: bytes, **headers: str) -> tuple[int, dict[str, object]]:
    request = urllib.request.Request(address, body, {"Content-Type": "application/json", **headers})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, json.loads(answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.loads(error.read())


@pytest.mark.parametrize(("number", "place"), [(signal.SIGTERM, "file"), (signal.SIGINT, "environment")])
def test_it_serves_until_a_signal(
    number: signal.Signals, place: str, embrm: Run, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"prompt": "How do I mend lamp 1?", "response": "correct clear useful"}
    (workspace / "texts.jsonl").write_text(json.dumps(row))
    scored = json.loads(embrm("score", "model", "texts.jsonl").out)
    (workspace / "token").write_text("of-the-file\n")
    monkeypatch.setenv("EMBRM_TOKEN", "of-the-environment")
    process, address = start(
        "--selector", "worst_case", "--allow-host", "node7", *(["--token-file", "token"] if place == "file" else [])
    )
    query = {"query": [f"{row['prompt']}{row['response']}"], "prompts": [row["prompt"]], "labels": [""]}
    status, answer = ask(address, json.dumps(query).encode(), Authorization=f"Bearer of-the-{place}")
    assert status == 200
    assert answer["rewards"] == pytest.approx([min(scored["draws"])], rel=1e-5)
    assert ask(address, b"{", Authorization=f"Bearer of-the-{place}")[0] == 400
    assert ask(address, b"{}", Authorization="Bearer of-another-place")[0] == 401
    for host, code in (("node7", 200), ("evil.example", 403)):
        called = {"Authorization": f"Bearer of-the-{place}", "Host": host}
        assert ask(address, json.dumps(query).encode(), **called)[0] == code
    with urllib.request.urlopen(address.replace("/get_reward", "/health"), timeout=30) as health:
        assert json.loads(health.read()) == {"status": "ok"}
    host, body = address.split("/")[2], json.dumps(query).encode()
    with closing(HTTPConnection(host, timeout=30)) as connection:
        connection.putrequest("POST", "/get_reward")
        for header, value in ("Content-Type", "application/json"), ("Content-Length", str(len(body))):
            connection.putheader(header, value)
        connection.putheader("Authorization", f"Bearer of-the-{place}")
        connection.endheaders(body[:9])
        time.sleep(0.3)
        process.send_signal(number)
        time.sleep(0.3)
        connection.send(body[9:])
        under_way = connection.getresponse()  # to what was asked before the signal
        assert (under_way.status, b"rewards" in under_way.read()) == (200, True)
    out, err = process.communicate(timeout=30)
    assert (process.returncode, out, err.strip()) == (128 + number, "", "interrupted")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--host", "0.0.0.0", "--port", "0"], 2, "can be reached from other machines; give a token"),
        (["--token-file", "missing"], 1, "missing cannot be read: No such file or directory"),
        (["--token-file", "empty"], 2, "the token must be printable ASCII without spaces, and not empty"),
        (["--token-file", "bytes"], 1, "bytes is no text in UTF-8; expected a file with the token alone"),
        (["--token-file", "pipe"], 1, "pipe is a pipe or a device, and no file"),
        (["--port", "70000"], 2, "70000 is not in the range 0<=x<=65535"),
        (["--selector", "thompson"], 2, "'thompson' does not value a text by itself"),
        (["--selector", "worst_cas"], 2, "Did you mean 'worst_case'?"),
        (["--host", "192.0.2.1", "--token-file", "model/config.json"], 2, "the token must be printable ASCII"),
    ],
)
def test_bad_usage(arguments: list[str], code: int, message: str, embrm: Run, workspace: Path) -> None:
    for name, content in (("empty", b" \n"), ("bytes", b"\xff\xfe")):
        (workspace / name).write_bytes(content)
    if "pipe" in arguments:
        os.mkfifo(workspace / "pipe")
    result = embrm("serve", "model", *arguments)
    assert (result.code, message in result.err) == (code, True), result.err


def test_no_model(embrm: Run) -> None:
    result = embrm("serve", "nowhere")
    assert (result.code, "nowhere is not a saved model" in result.err) == (1, True)
