"""A request's body, read with a limit, and the refusal that says why one is not answered."""

from __future__ import annotations

import json
from email.message import Message
from http import HTTPStatus
from io import BufferedIOBase
from typing import Any

from embrm.errors import DataError


class RefusedError(DataError):
    """A request that is not answered with rewards, and the HTTP status that says why."""

    def __init__(self, status: HTTPStatus, message: str, *, header: tuple[str, str] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.header = header


def refusal(status: HTTPStatus, message: str, *, header: tuple[str, str] | None = None) -> RefusedError:
    """Return the refusal of a request with its status, to be raised."""
    return RefusedError(status, message, header=header)


def too_large(message: str) -> RefusedError:
    """Return the refusal of a request that asks for more than the server takes."""
    return RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, message)


def read_body(stream: BufferedIOBase, headers: Message, most: int) -> dict[str, Any]:
    """Return the JSON object of a request's body, of which no more than `most` bytes are read.

    Raises:
        RefusedError: it has no length, is longer, did not come, or is not a JSON object.
    """
    length = headers.get("Content-Length", "")
    if not length.isdecimal():
        raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "send the body's length in the header Content-Length")
    if len(length) > 15 or int(length) > most:
        raise RefusedError(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"the body has {length[:15]} bytes, and at most {most} are read; send fewer texts",
        )
    try:
        raw = stream.read(int(length))
    except TimeoutError:
        raise RefusedError(HTTPStatus.REQUEST_TIMEOUT, "the body stopped coming; send it without a pause") from None
    if len(raw) < int(length):
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"the body ended after {len(raw)} of {length} bytes")
    try:
        body = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise RefusedError(HTTPStatus.BAD_REQUEST, f"the body is not JSON in UTF-8: {error}") from None
    if not isinstance(body, dict):
        raise RefusedError(
            HTTPStatus.BAD_REQUEST, f'the body must be an object such as {{"query": [...]}}, got {type(body).__name__}'
        )
    return body
