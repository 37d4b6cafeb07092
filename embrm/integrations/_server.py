"""The HTTP server behind `embrm serve`: POST /get_reward in OpenRLHF's format, on Python's own server."""

from __future__ import annotations

import base64
import hmac
import ipaddress
import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from embrm.errors import DataError, EmbrmError, OptionError

PATH = "/get_reward"
IDLE_SECONDS = 30.0  # that a connection may be silent
LINGER_SECONDS = 10.0  # that a client may go on sending what is not read any more
STOP_SECONDS = 30.0  # that requests under way get when the server stops

log = logging.getLogger("embrm.serve")


class RefusedError(DataError):
    """A request that is not answered with rewards, and the HTTP status that says why."""

    def __init__(self, status: HTTPStatus, message: str, *, header: tuple[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.header = header


def too_large(message: str) -> RefusedError:
    """Return the refusal of a request that asks for more than the server takes."""
    return RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)


@dataclass(frozen=True)
class ServerLimits:
    """How much one request may ask of a reward server.

    Attributes:
        texts: queries of a request.
        size: bytes of a request's body.
    """

    texts: int = 1024
    size: int = 16 << 20


class RewardServer(ThreadingHTTPServer):
    """Answers POST /get_reward until `running` ends; every answer, also a refusal, is one JSON object.

    Args:
        answer: the request's JSON object → what is sent back.
        host: the name or address to listen at; without a token one of this machine only.
        port: 0 lets the system choose; `server_address` tells.
        token: what a request must bring: `Authorization: Bearer TOKEN`, or as the password of `http://user:TOKEN@…`,
            which is what a trainer can put into an address.
        max_bytes: of a request's body.

    Raises:
        OptionError: the address cannot be listened at, or others can reach it and there is no token.
    """

    daemon_threads = True
    request_queue_size = 256

    def __init__(
        self,
        answer: Callable[[dict[str, Any]], dict[str, Any]],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        max_bytes: int = 16 << 20,
    ) -> None:
        if token is not None and not (token and token.isascii() and token.isprintable() and " " not in token):
            raise OptionError("the token must be printable ASCII without spaces, and not empty")
        self.answer, self.max_bytes = answer, max_bytes
        self.token = None if token is None else token.encode()
        self._under_way = 0
        self._idle = threading.Condition()
        try:
            # The address that was checked is the one that is bound: a name could change between.
            self.address_family, _, _, _, address = socket.getaddrinfo(
                host or "0.0.0.0", port, type=socket.SOCK_STREAM
            )[0]
            if token is None and not ipaddress.ip_address(address[0]).is_loopback:
                raise OptionError(
                    f"{host or 'every address'} can be reached from other machines; give a token, or listen at "
                    "127.0.0.1"
                )
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

    def do_POST(self) -> None:
        try:
            self._check_request()
            body = self._read()
            with self.server.working():
                self._send(HTTPStatus.OK, self._answer(body))
        except RefusedError as refused:
            self._send(refused.status, {"error": str(refused)}, refused.header)
            self._linger()

    def _check_request(self) -> None:
        """Refuse what needs no look at the body: nothing of it is read before."""
        if self.server.token is not None and not self._has_token():
            raise RefusedError(
                HTTPStatus.UNAUTHORIZED,
                "wrong token or none; send the header 'Authorization: Bearer TOKEN', or http://user:TOKEN@host:port",
                header=("WWW-Authenticate", 'Bearer realm="embrm"'),
            )
        if self.path.partition("?")[0].rstrip("/") != PATH:
            raise RefusedError(HTTPStatus.NOT_FOUND, f"there is nothing here; rewards are at POST {PATH}")
        if self.command != "POST":
            raise RefusedError(
                HTTPStatus.METHOD_NOT_ALLOWED, f"{PATH} takes POST, got {self.command[:20]}", header=("Allow", "POST")
            )
        if self.headers.get_content_type() != "application/json":
            # A web page cannot send this type to another site unasked, so it cannot make a browser use the server.
            raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON with Content-Type: application/json")

    def _has_token(self) -> bool:
        scheme, _, value = self.headers.get("Authorization", "").partition(" ")
        given = b""
        if scheme.lower() == "bearer":
            given = value.strip().encode("utf-8", "replace")
        elif scheme.lower() == "basic":
            with suppress(ValueError):
                given = base64.b64decode(value.strip()).partition(b":")[2]
        return hmac.compare_digest(given, self.server.token or b"")

    def _read(self) -> dict[str, Any]:
        length = self.headers.get("Content-Length", "")
        if not length.isdecimal():
            raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "send the body's length in the header Content-Length")
        if len(length) > 15 or int(length) > self.server.max_bytes:
            raise too_large(
                f"the body has {length[:15]} bytes, and at most {self.server.max_bytes} are read; send fewer texts"
            )
        try:
            raw = self.rfile.read(int(length))
        except TimeoutError:
            raise RefusedError(HTTPStatus.REQUEST_TIMEOUT, f"nothing came for {IDLE_SECONDS:g} s") from None
        if len(raw) < int(length):
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"the body ended after {len(raw)} of {length} bytes")
        try:
            body = json.loads(raw)
        except (ValueError, RecursionError) as error:
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"the body is not JSON in UTF-8: {error}") from None
        if not isinstance(body, dict):
            raise RefusedError(
                HTTPStatus.BAD_REQUEST,
                f'the body must be an object such as {{"query": [...]}}, got {type(body).__name__}',
            )
        return body

    def _answer(self, body: dict[str, Any]) -> dict[str, Any]:
        try:
            return self.server.answer(body)
        except RefusedError:
            raise
        except DataError as error:
            raise RefusedError(HTTPStatus.BAD_REQUEST, str(error)) from error
        except EmbrmError as error:
            log.error("scoring failed: %s", error)
            raise RefusedError(HTTPStatus.INTERNAL_SERVER_ERROR, f"scoring failed: {error}") from error
        except Exception as error:  # of libraries below: one request fails, the server stays
            log.exception("scoring failed")
            raise RefusedError(
                HTTPStatus.INTERNAL_SERVER_ERROR, f"scoring failed: {type(error).__name__}; the server's log says more"
            ) from error

    def _send(self, status: HTTPStatus, data: dict[str, Any], header: tuple[str, str] | None = None) -> None:
        content = json.dumps(data, allow_nan=False).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        if header:
            self.send_header(*header)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)
        self.close_connection = True

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
