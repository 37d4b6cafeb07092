"""What stands before an application: who may ask, refusals in JSON, an account of every request without its texts."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from embrm.serving.access import Access
from embrm.serving.body import RefusedError, refusal
from embrm.serving.protocol import LINGER_SECONDS

log = logging.getLogger("embrm.serve")


@dataclass(frozen=True)
class Exchange:
    """A request and its answer, as far as a log may tell of them: no text, no token, no query.

    Attributes:
        client: the address that asked.
        method, path: what was asked, in ASCII and cut to a line; a path that the server does not have is "other".
        status: of the answer.
        seconds: from the request's head to the end of the answer.
        read: bytes of its body.
    """

    client: str
    method: str
    path: str
    status: int
    seconds: float
    read: int

    def line(self) -> str:
        """Return the exchange as one line of JSON with the time."""
        now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
        return json.dumps({"time": now, **vars(self), "seconds": round(self.seconds, 6)})


class JsonAnswer(Response):
    """An answer of JSON on one line; numbers that JSON does not have are a fault of the server."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """Return the bytes of the answer."""
        return json.dumps(content, allow_nan=False).encode()


class Guard:
    """Answers only requests that may be made, and tells of each that was.

    Args:
        app: what answers.
        access: who may ask.
        paths: those that the application has; the others are not written to any log.
        probes: paths that need no token.
        headers: of every answer.
        told: is called with each exchange when it is over.
        scheme: by which a browser is asked for the token; "Basic" makes it ask its user.
    """

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        *,
        paths: frozenset[str],
        probes: frozenset[str] = frozenset(),
        headers: Mapping[str, str] | None = None,
        told: Callable[[Exchange], None] = lambda exchange: None,
        scheme: str = "Bearer",
    ) -> None:
        self.app, self.access, self.paths, self.probes, self.told = app, access, paths, probes, told
        self.headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", **(headers or {})}
        self.scheme, self.under_way = scheme, 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check the request, let the application answer, and close what was refused without destroying the answer."""
        # "/path/" is "/path" to a trainer; a redirection would cost it its body.
        scope["path"] = str(scope["path"]).rstrip("/") or "/"
        passing = _Passing(receive, send, self.headers, scope)
        started = time.monotonic()
        self.under_way += 1
        try:
            await self._answer(scope, passing)
            await passing.finish()
        finally:
            self.under_way -= 1
            path = scope["path"] if scope["path"] in self.paths else "other"
            client = (scope.get("client") or ("?",))[0]
            seconds = time.monotonic() - started
            self.told(Exchange(client, ascii(scope["method"])[1:-1][:20], path, passing.status, seconds, passing.read))

    async def _answer(self, scope: Scope, passing: _Passing) -> None:
        try:
            self._check(scope)
            return await self.app(scope, passing.receive, passing.send)
        except RefusedError as refused:
            status, text, header = refused.status, str(refused), refused.header
        except HTTPException as error:
            status, text, header = HTTPStatus(error.status_code), error.detail, None
        except Exception as error:  # of libraries below: one request fails, the server stays
            log.exception("a request failed")
            status, header = HTTPStatus.INTERNAL_SERVER_ERROR, None
            text = f"the request failed: {type(error).__name__}; the server's log says more"
        if not passing.started:
            answer = JsonAnswer({"error": text}, status_code=status, headers=dict([header] if header else []))
            await answer(scope, passing.receive, passing.send)
        return None

    def _check(self, scope: Scope) -> None:
        """Refuse a page of the web that made a browser call, by a name or an origin of its own, and wrong tokens."""
        headers = Headers(scope=scope)
        host, origin = headers.get("host"), headers.get("origin")
        if not self.access.knows(host):
            raise refusal(
                HTTPStatus.FORBIDDEN,
                f"this server is not called {ascii(host)[:80]}; start it with --allow-host NAME if it is",
            )
        if not self.access.same_origin(origin, host):
            raise refusal(HTTPStatus.FORBIDDEN, "requests from web pages of another origin are refused")
        if scope["path"] not in self.probes and not self.access.has_token(headers.get("authorization", "")):
            raise refusal(
                HTTPStatus.UNAUTHORIZED,
                "wrong token or none; send the header 'Authorization: Bearer TOKEN', or http://user:TOKEN@host:port",
                header=("WWW-Authenticate", f'{self.scheme} realm="embrm"'),
            )


class _Passing:
    """The messages of one exchange on their way, counted; where an answer leaves a body unread, the rest is read."""

    def __init__(self, receive: Receive, send: Send, headers: Mapping[str, str], scope: Scope) -> None:
        self._receive, self._send, self._headers = receive, send, headers
        asked = Headers(scope=scope)
        self._unread = "transfer-encoding" in asked or asked.get("content-length", "0") != "0"
        self.started, self.status, self.read = False, 0, 0
        self._held: Message | None = None

    async def receive(self) -> Message:
        message = await self._receive()
        self.read += len(message.get("body", b""))
        if message["type"] != "http.request" or not message.get("more_body", False):
            self._unread = False
        return message

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started, self.status = True, message["status"]
            headers = MutableHeaders(scope=message)
            for name, value in self._headers.items():
                headers.setdefault(name, value)
            if self._unread:
                headers["Connection"] = "close"
        elif self._unread and not message.get("more_body", False):
            self._held = {**message, "body": b""}
            message = {**message, "more_body": True}
        await self._send(message)

    async def finish(self) -> None:
        """Read on for a while what a refused client still sends: closing at once would destroy the answer under way."""
        if self._held is None:
            return
        try:
            async with asyncio.timeout(LINGER_SECONDS):
                while self._unread:
                    await self.receive()
        except TimeoutError:
            pass
        await self._send(self._held)
