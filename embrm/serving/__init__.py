"""HTTP on this machine: who may ask, what a request may cost, how a server starts, stops and says what it did.

What is answered is not here: rewards are `embrm.integrations.openrlhf`'s, the live page is `embrm.demo`'s.
"""

from __future__ import annotations

from importlib.util import find_spec

from embrm.errors import MissingExtraError

NEEDED = ("starlette", "uvicorn")


def check_extra(what: str) -> None:
    """Say what to install where the libraries of a server are absent.

    Args:
        what: the thing that needs them.

    Raises:
        MissingExtraError: Starlette or uvicorn is not installed.
    """
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise MissingExtraError(f"{what} needs {' and '.join(missing)}: pip install 'embrm[serve]'")
