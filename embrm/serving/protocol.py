"""HTTP/1.1 by h11 under uvicorn, with what it leaves open: deadlines, refusals in JSON, clients that stop sending."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from http import HTTPStatus
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import STATUS_PHRASES, H11Protocol

HEADER_SECONDS = 30.0  # that a request's head may take, and that a connection may be silent before it
LINGER_SECONDS = 10.0  # that a client may go on sending what is not read any more
CLOSE = (b"connection", b"close")

log = logging.getLogger("embrm.serve.protocol")
log.setLevel(logging.ERROR)  # what strangers send is no news


class GuardedProtocol(H11Protocol):
    """One connection: uvicorn's protocol, which lets no client hold it without asking."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.logger = log
        self.access_log = False
        self._ended = False
        self._deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the time that the first request has."""
        super().connection_made(transport)
        self._set_deadline()

    def data_received(self, data: bytes) -> None:
        """Take bytes; between the head of a request and its answer the application watches the time."""
        super().data_received(data)
        if self._busy or self.transport.is_closing():
            self._stop_deadline()
        else:
            self._set_deadline()

    def eof_received(self) -> bool:  # type: ignore[override]
        """Keep the connection of a client that has said all it wanted until it has its answers."""
        self._ended = True
        self._end_body()
        return self._busy

    def on_response_complete(self) -> None:
        """Go on with what was sent behind the request; close where nothing was and nothing will be."""
        super().on_response_complete()
        if self._ended:
            self._end_body()
            if not self._busy:
                self.transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the connection."""
        self._stop_deadline()
        super().connection_lost(exc)

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request in JSON too, with the status that h11 found; it is called where it caught that."""
        error = sys.exc_info()[1]
        status = HTTPStatus(getattr(error, "error_status_hint", HTTPStatus.BAD_REQUEST))
        self._stop_deadline()
        if self.conn.our_state is not h11.IDLE and self.conn.our_state is not h11.SEND_RESPONSE:
            self.transport.close()
            return
        content = json.dumps({"error": f"this is no request that can be read: {error or msg}"}).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode()), CLOSE]
        for event in (
            h11.Response(status_code=status, headers=headers, reason=STATUS_PHRASES[status]),
            h11.Data(data=content),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.linger()

    def linger(self) -> None:
        """Close, but read on for a while what the client still sends: closing at once would destroy the answer."""
        self.transport.write_eof()
        self.transport.set_protocol(_Lingering(self))

    def _end_body(self) -> None:
        """Tell the application that no more of a body comes, where its end is missing."""
        if self._busy and self.conn.their_state is h11.SEND_BODY:
            self.cycle.keep_alive = self.cycle.more_body = False
            self.cycle.message_event.set()

    @property
    def _busy(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _set_deadline(self) -> None:
        if self._deadline is None:
            self._deadline = self.loop.call_later(HEADER_SECONDS, self._late)

    def _stop_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _late(self) -> None:
        self._deadline = None
        if not self._busy:
            self.transport.abort()


class _Lingering(asyncio.Protocol):
    """What is left of a refused connection: it reads and forgets until the client has finished, or the time is up."""

    def __init__(self, refused: GuardedProtocol) -> None:
        self._refused = refused
        self._end = refused.loop.call_later(LINGER_SECONDS, refused.transport.abort)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._end.cancel()
        self._refused.connection_lost(exc)
