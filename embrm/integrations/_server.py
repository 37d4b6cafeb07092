"""The HTTP server behind `embrm serve`: POST /get_reward, and pages for those who look after it."""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from embrm.errors import DataError, EmbrmError, OptionError
from embrm.integrations._access import Access
from embrm.integrations._body import RefusedError, read_body, refusal
from embrm.integrations._counters import FORMAT, Counters

PATH = "/get_reward"
PAGES = ("/", "/health", "/metrics")
IDLE_SECONDS = 30.0  # that a connection may be silent
LINGER_SECONDS = 10.0  # that a client may go on sending what is not read any more
STOP_SECONDS = 30.0  # that requests under way get when the server stops

log = logging.getLogger("embrm.serve")


@dataclass(frozen=True)
class ServerLimits:
    """What a reward server lets one request ask.

    Attributes:
        texts: queries of a request.
        size: bytes of a request's body.
        hosts: names that requests may call the server by, further to this machine's own (the header Host).
    """

    texts: int = 1024
    size: int = 16 << 20
    hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class RewardAnswer:
    """What is sent back to a request for rewards, and what is counted of it.

    Attributes:
        body: what becomes JSON.
        samples: how many rewards were asked for.
        errors: how many samples got none.
        cut: how many were longer than the embedder reads.
    """

    body: Any
    samples: int
    errors: int = 0
    cut: int = 0


class RewardServer(ThreadingHTTPServer):
    """Answers POST /get_reward until `running` ends, and GET or HEAD of /, /health and /metrics.

    Every answer but that of /metrics is JSON on one line, also a refusal. Without the token / and /health still answer,
    the latter with the status alone, so that a probe needs no secret.

    Args:
        answer: the request's JSON object → what is sent back.
        host: the name or address to listen at; without a token one of this machine only.
        port: 0 lets the system choose; `server_address` tells.
        token: what a request must bring: `Authorization: Bearer TOKEN`, or as the password of `http://user:TOKEN@…`,
            which is what a trainer can put into an address.
        limits: of a request.
        about: what /health tells of the model.

    Raises:
        OptionError: the address cannot be listened at, or others can reach it and there is no token.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(
        self,
        answer: Callable[[dict[str, Any]], RewardAnswer],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        limits: ServerLimits | None = None,
        about: Mapping[str, str] | None = None,
    ) -> None:
        self.answer, self.limits, self.about = answer, limits or ServerLimits(), dict(about or {})
        self.counters = Counters()
        self._under_way = 0
        self._idle = threading.Condition()
        try:
            # The address that was checked is the one that is bound: a name could change between.
            self.address_family, _, _, _, address = socket.getaddrinfo(
                host or "0.0.0.0", port, type=socket.SOCK_STREAM
            )[0]
            self.access = Access(str(address[0]), (*self.limits.hosts, *([host] if host else [])), token)
            super().__init__((str(address[0]), int(address[1])), _Handler)
        except (OSError, OverflowError) as error:
            raise OptionError(f"cannot listen at {host}, port {port}: {error}; choose another") from error

    @contextmanager
    def running(self) -> Iterator[str]:
        """Serve in a thread of its own inside the block, and give the address; at its end finish what is under way."""
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            host, port = self.server_address[:2]
            yield f"http://{f'[{host!s}]' if ':' in str(host) else host!s}:{port}{PATH}"
        finally:
            self.shutdown()
            thread.join()
            with self._idle:
                if not self._idle.wait_for(lambda: self._under_way == 0, timeout=STOP_SECONDS):
                    log.warning("stopped with %d requests unanswered", self._under_way)
            self.server_close()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Make the end of `running` wait for this block."""
        with self._idle:
            self._under_way += 1
        try:
            yield
        finally:
            with self._idle:
                self._under_way -= 1
                self._idle.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Log what ended a connection; a client that went away is no news."""
        log.debug("connection from %s ended", client_address, exc_info=True)


class _Handler(BaseHTTPRequestHandler):
    server: RewardServer
    server_version, sys_version = "embrm", ""
    timeout = IDLE_SECONDS
    _started: float | None = None  # when a request for rewards began; pages are not counted

    def do_POST(self) -> None:
        self._started = time.monotonic()
        try:
            self._check_request()
            body = read_body(self.rfile, self.headers, self.server.limits.size)
            with self.server.working():
                answer = self._answer(body)
                self.server.counters.texts(answer.samples, errors=answer.errors, cut=answer.cut)
                self._send(HTTPStatus.OK, answer.body)
        except RefusedError as refused:
            self._refuse(refused)

    def do_GET(self) -> None:
        page = self._path()
        if page not in PAGES:
            return self.do_POST()
        try:
            self._send_page(page)
        except RefusedError as refused:
            return self._refuse(refused)
        if "Content-Length" in self.headers:
            self._linger()
        return None

    def do_HEAD(self) -> None:
        self.do_GET()

    def _send_page(self, page: str) -> None:
        self._check_caller()
        if page == "/metrics":
            self._check_token()
            self._send_content(HTTPStatus.OK, self.server.counters.page(), FORMAT)
        elif page == "/health":
            told = self.server.about if self.server.access.has_token(self._given()) else {}
            self._send(HTTPStatus.OK, {"status": "ok", **told})
        else:
            self._send(HTTPStatus.OK, {"embrm": f"rewards are at POST {PATH}"})

    def _path(self) -> str:
        return self.path.partition("?")[0].rstrip("/") or "/"

    def _given(self) -> str:
        return str(self.headers.get("Authorization", ""))

    def _check_caller(self) -> None:
        """Refuse a page of the web that made a browser call: by a name of its own, or from its own origin."""
        access, host = self.server.access, self.headers.get("Host")
        if not access.knows(host):
            raise refusal(
                HTTPStatus.FORBIDDEN,
                f"this server is not called {ascii(host)[:80]}; start it with --allow-host NAME if it is",
            )
        if not access.same_origin(self.headers.get("Origin"), host):
            raise refusal(HTTPStatus.FORBIDDEN, "requests from web pages of another origin are refused")

    def _check_token(self) -> None:
        if not self.server.access.has_token(self._given()):
            raise refusal(
                HTTPStatus.UNAUTHORIZED,
                "wrong token or none; send the header 'Authorization: Bearer TOKEN', or http://user:TOKEN@host:port",
                header=("WWW-Authenticate", 'Bearer realm="embrm"'),
            )

    def _check_request(self) -> None:
        """Refuse what needs no look at the body: nothing of it is read before."""
        self._check_caller()
        self._check_token()
        if self._path() != PATH:
            raise refusal(
                HTTPStatus.NOT_FOUND,
                f"there is nothing here; rewards are at POST {PATH}, and GET takes {', '.join(PAGES)}",
            )
        if self.command != "POST":
            raise refusal(
                HTTPStatus.METHOD_NOT_ALLOWED, f"{PATH} takes POST, got {self.command[:20]}", header=("Allow", "POST")
            )
        if self.headers.get_content_type() != "application/json":
            # A web page cannot send this type to another site unasked, so it cannot make a browser use the server.
            raise refusal(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON with Content-Type: application/json")

    def _answer(self, body: dict[str, Any]) -> RewardAnswer:
        try:
            return self.server.answer(body)
        except RefusedError:
            raise
        except DataError as error:
            raise refusal(HTTPStatus.BAD_REQUEST, str(error)) from error
        except EmbrmError as error:
            log.error("scoring failed: %s", error)
            raise refusal(HTTPStatus.INTERNAL_SERVER_ERROR, f"scoring failed: {error}") from error
        except Exception as error:  # of libraries below: one request fails, the server stays
            log.exception("scoring failed")
            raise refusal(
                HTTPStatus.INTERNAL_SERVER_ERROR, f"scoring failed: {type(error).__name__}; the server's log says more"
            ) from error

    def _send(self, status: HTTPStatus, data: Any, header: tuple[str, str] | None = None) -> None:
        self._send_content(status, json.dumps(data, allow_nan=False), "application/json", header)

    def _send_content(self, status: HTTPStatus, text: str, kind: str, header: tuple[str, str] | None = None) -> None:
        if self._started is not None:
            self.server.counters.request(status, time.monotonic() - self._started)
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        if header:
            self.send_header(*header)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.close_connection = True

    def _refuse(self, refused: RefusedError) -> None:
        self._send(refused.status, {"error": str(refused)}, refused.header)
        self._linger()

    def _linger(self) -> None:
        """Read on for a while what a refused client still sends: closing at once would destroy the answer under way."""
        deadline = time.monotonic() + LINGER_SECONDS
        with suppress(OSError):
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(1.0)
            while time.monotonic() < deadline and self.rfile.read1(1 << 16):
                pass

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what Python's server refuses by itself in JSON too: malformed requests, and methods without `do_`."""
        if code == HTTPStatus.NOT_IMPLEMENTED:
            return self.do_POST()
        self.request_version = self.protocol_version  # an answer to a line that is no request has a status line too
        status = HTTPStatus(code)
        self._send(status, {"error": message or status.phrase})
        return self._linger()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Log requests where debugging is on."""
        log.debug("%s %s", self.client_address[0], format % args)
