"""A request's body, read with a limit, and the refusal that says why one is not answered."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

from starlette.requests import ClientDisconnect, Request

from embrm.errors import DataError

IDLE_SECONDS = 30.0  # that a client may be silent inside a body
TOO_LARGE = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
BODY_SECONDS = 300.0  # that a whole body may take


class RefusedError(DataError):
    """A request that is not answered, and the HTTP status that says why."""

    def __init__(self, status: HTTPStatus, message: str, *, header: tuple[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.header = header


def refusal(status: HTTPStatus, message: str, *, header: tuple[str, str] | None = None) -> RefusedError:
    """Return the refusal of a request with its status, to be raised."""
    return RefusedError(status, message, header=header)


def too_large(message: str) -> RefusedError:
    """Return the refusal of a request that asks for more than the server takes."""
    return RefusedError(TOO_LARGE, message)


class Bodies:
    """What a server holds of the bodies of all requests, each from its first byte to its answer.

    Args:
        most: bytes of all together.

    Attributes:
        held: bytes that are held now.
    """

    def __init__(self, most: int) -> None:
        self.most, self.held = most, 0

    @contextmanager
    def room(self) -> Iterator[Callable[[int], None]]:
        """Give what takes so many bytes more, or refuses; they are given back when the block ends."""
        own = 0

        def take(size: int) -> None:
            nonlocal own
            if self.held + size > self.most:
                raise RefusedError(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    f"the requests under way have {self.most} bytes together, and no more are held; ask again later",
                    header=("Retry-After", "1"),
                )
            self.held += size
            own += size

        try:
            yield take
        finally:
            self.held -= own


async def read_body(request: Request, most: int, take: Callable[[int], None] = lambda size: None) -> dict[str, Any]:
    """Return the JSON object of a request's body, of which no more than `most` bytes are kept.

    Args:
        request: the request.
        most: bytes.
        take: is called with the size of each part before it is kept; see `Bodies.room`.

    Raises:
        RefusedError: it is not declared as JSON, has neither a length nor chunks, is longer, did not come, or is not a
            JSON object.
    """
    # A web page cannot send this type to another site unasked, so it cannot make a browser use the server.
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
        raise RefusedError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send JSON with Content-Type: application/json")
    length = request.headers.get("content-length")
    if length is None and "transfer-encoding" not in request.headers:
        raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "send the body's length in the header Content-Length")
    if length is not None and int(length) > most:
        raise RefusedError(TOO_LARGE, f"the body has {length[:15]} bytes; at most {most} are read; send fewer texts")
    try:
        async with asyncio.timeout(BODY_SECONDS):
            raw = await _content(request, most, take)
    except TimeoutError:
        raise RefusedError(HTTPStatus.REQUEST_TIMEOUT, "the body stopped coming; send it without a pause") from None
    if length is not None and len(raw) < int(length):
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"the body ended after {len(raw)} of {length} bytes")
    return parse_body(raw)


def parse_body(raw: bytes) -> dict[str, Any]:
    """Return the JSON object of a body.

    Raises:
        RefusedError: it is none.
    """
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"the body is not JSON in UTF-8: {error}") from None
    if not isinstance(body, dict):
        raise RefusedError(
            HTTPStatus.BAD_REQUEST, f'the body must be an object such as {{"query": [...]}}, got {type(body).__name__}'
        )
    return body


async def _content(request: Request, most: int, take: Callable[[int], None]) -> bytes:
    parts: list[bytes] = []
    size = 0
    try:
        stream = request.stream()
        while True:
            async with asyncio.timeout(IDLE_SECONDS):
                part = await anext(stream, b"")
            if not part:
                return b"".join(parts)
            size += len(part)
            if size > most:
                raise too_large(f"the body has more than {most} bytes, and no more are read; send fewer texts")
            take(len(part))
            parts.append(part)
    except ClientDisconnect:
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"the client went away after {size} bytes") from None
