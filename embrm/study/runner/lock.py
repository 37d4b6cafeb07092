"""One process at a time works on a run's folder."""

from __future__ import annotations

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from embrm.errors import DataError


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock inside the block; the system releases it however the process ends.

    Raises:
        DataError: another process holds it; the message says which.
    """
    with path.open("a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            stream.seek(0)
            holder = stream.read() or "another process"
            raise DataError(f"{path.parent} is held by {holder}; wait until it ends, or give another folder") from None
        stream.truncate(0)
        stream.write(f"process {os.getpid()} on {platform.node()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
        stream.flush()
        yield
