"""The token of a server, which never stands on the command line: others on the machine can read that."""

from __future__ import annotations

import os

from embrm.core.bounds import LINE
from embrm.core.documents import read_bytes
from embrm.errors import DataError


def read_token(path: str | None) -> str | None:
    """Return the token of a file, or of the variable EMBRM_TOKEN, or None where neither was given.

    Raises:
        DataError: there is no such file, it is no file but a pipe or device, or it is no text; the message has nothing
            of what it holds.
    """
    if path is None:
        return os.environ.get("EMBRM_TOKEN")
    try:
        return read_bytes(path, most=LINE).decode().strip()
    except UnicodeDecodeError:
        raise DataError(f"{path} is no text in UTF-8; expected a file with the token alone") from None
