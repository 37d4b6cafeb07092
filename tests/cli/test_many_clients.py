"""`embrm serve` and `embrm demo` as processes with more clients than they can take, and with many requests."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")]
COMMANDS = {"serve": ["serve", "model"], "demo": ["demo", "model", "--reference", "prefs.jsonl"]}
CLIENTS = 500
REQUESTS = 20_000
BODY = json.dumps({"query": ["How? correct clear"], "prompts": ["How?"], "labels": [""]}).encode()


@contextmanager
def server(*words: str, files: int) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Start a server that may have so many files open; give it and its host with the port."""
    process = subprocess.Popen(
        [sys.executable, "-c", "from embrm.cli import main; main()", *words, "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (files, files)),
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert "http://" in line, process.communicate(timeout=60)[1]
        yield process, line.partition("http://")[2].partition("/")[0]
    finally:
        process.kill()
        process.communicate()


def processor_seconds(process: subprocess.Popen[Any]) -> float:
    fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident(process: subprocess.Popen[str]) -> float:
    """Return what it has in memory, in MiB."""
    pages = Path(f"/proc/{process.pid}/statm").read_text(encoding="utf-8").split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE") / 2**20


def asked(host: str) -> int:
    with closing(HTTPConnection(host, timeout=60)) as connection:
        connection.request("GET", "/")
        return connection.getresponse().status


@pytest.mark.parametrize("command", COMMANDS)
def test_without_descriptors_it_waits_and_answers_again_when_there_are_some(command: str, workspace: Path) -> None:
    with server(*COMMANDS[command], files=64) as (process, host), ExitStack() as stack:
        address, port = host.split(":")
        for _ in range(100):
            stack.enter_context(socket.create_connection((address, int(port)), timeout=60))
        time.sleep(0.5)
        before = processor_seconds(process)
        assert len(list(Path(f"/proc/{process.pid}/fd").iterdir())) == 64
        time.sleep(3)
        assert processor_seconds(process) - before < 0.3
        stack.close()
        assert asked(host) == 200
        process.send_signal(signal.SIGTERM)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 143
    assert err.count("no further connection can be taken: Too many open files") == 1
    assert len(err) < 1000


def rewards(host: str, count: int) -> int:
    """Ask so many times on one connection, many at a time, and return how many rewards came."""
    head = f"POST /get_reward HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(BODY)}"
    request, address = f"{head}\r\n\r\n".encode() + BODY, host.split(":")
    with socket.create_connection((address[0], int(address[1])), timeout=60) as connection:
        found = 0
        for _ in range(count):
            connection.sendall(request)
            answer = b""
            while b'"extra_logs"' not in answer or not answer.endswith(b"}}"):
                part = connection.recv(65536)
                assert part, answer
                answer += part
            found += answer.startswith(b"HTTP/1.1 200") and b'"rewards": [' in answer
    return found


def test_five_hundred_clients_at_once_and_twenty_thousand_requests(workspace: Path) -> None:
    with server("serve", "model", files=2048) as (process, host):
        with ThreadPoolExecutor(CLIENTS) as pool:
            assert sum(pool.map(lambda _: rewards(host, 1), range(CLIENTS))) == CLIENTS

        def some(count: int) -> int:
            with ThreadPoolExecutor(8) as pool:
                return sum(pool.map(lambda _: rewards(host, count // 8), range(8)))

        began = time.perf_counter()
        assert some(2000) == 2000
        before = resident(process)
        assert some(REQUESTS) == REQUESTS
        grown = resident(process) - before
        seconds = time.perf_counter() - began
        print(f"{REQUESTS} requests: {grown:+.1f} MiB beside {before:.0f}; {seconds:.0f} s")
        assert grown < 10
