"""One process at a time works on a run's folder."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from embrm.errors import DataError


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Hold a lock inside the block; the system releases it however the process ends.

    Beside the lock's file stands who holds it: where the system locks a file it may not let others read it.

    Raises:
        DataError: another process holds it; the message says which. Or what stands there is no file.
    """
    holder = path.with_suffix(".txt")
    for own in (path, holder):
        if own.is_symlink() or (own.exists() and not own.is_file()):
            raise DataError(f"{own} is no file, so nobody can say who works on {path.parent}; remove it")
    try:
        lock = FileLock(path).acquire(blocking=False)
    except Timeout:
        who = holder.read_text(encoding="utf-8", errors="replace") if holder.is_file() else "another process"
        raise DataError(f"{path.parent} is held by {who}; wait until it ends, or give another folder") from None
    with lock:
        who = f"process {os.getpid()} on {platform.node()} since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC"
        holder.write_text(who, encoding="utf-8")
        yield
