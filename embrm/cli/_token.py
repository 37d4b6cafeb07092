"""The token of a server, which never stands on the command line: others on the machine can read that."""

from __future__ import annotations

import os
from pathlib import Path


def read_token(path: str | None) -> str | None:
    """Return the token of a file, or of the variable EMBRM_TOKEN, or None."""
    return os.environ.get("EMBRM_TOKEN") if path is None else Path(path).read_text(encoding="utf-8").strip()
