"""What keeps a worker from outliving its study, and a cell from taking more time than it may.

A limit is kept twice. A timer of the system interrupts what runs in Python, and the cell fails alone. What never comes
back to Python, a loop of another language, is ended by a thread that needs no interpreter, with the process; the file
in which that thread wrote where it hung tells the study that to try again is no use.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from embrm.errors import ConvergenceError

WATCH_SECONDS = 1.0  # between two looks at whether the parent is there
GRACE_SECONDS = 5.0  # for what does not come back to Python, after its time is up
PR_SET_PDEATHSIG = 1
_mark: Path | None = None  # where this worker says that it hung; None outside workers


def end_with(parent: int, at_once: bool) -> None:
    """Make this process end with its parent, however that ends.

    Args:
        parent: its process id.
        at_once: let the system do it, where it can: on Linux, and only where the thread that started this process lives
            as long as the parent, because its end is what the system waits for.
    """
    if at_once and sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch, args=(parent,), daemon=True).start()
    from tqdm import tqdm

    tqdm.set_lock(threading.RLock())  # its own is a semaphore of the system, which a worker that is ended would leave


def _watch(parent: int) -> None:
    while _lives(parent):
        time.sleep(WATCH_SECONDS)
    os._exit(1)


def _lives(parent: int) -> bool:
    if os.name != "nt":
        return os.getppid() == parent  # a child without a parent is given to another
    from multiprocessing import parent_process

    known = parent_process()
    return known is None or known.is_alive()


@contextmanager
def marking(mark: Path | None) -> Iterator[None]:
    """Let `limited` end this process inside the block, after it has written where it hung into the file `mark`."""
    global _mark
    _mark = mark
    try:
        yield
    finally:
        _mark = None


class _TimeUp(BaseException):
    """The time is up; no `except Exception` of a head's keeps it."""


@contextmanager
def limited(seconds: float | None) -> Iterator[None]:
    """Let the block take so many seconds; None: as many as it wants.

    Only the main thread of a process can be interrupted; in others there is no limit.

    Raises:
        ConvergenceError: it takes longer.
    """
    if seconds is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    with _ended(seconds + GRACE_SECONDS):
        try:
            with _interrupted(seconds):
                yield
        except _TimeUp:
            raise ConvergenceError(f"it takes longer than {seconds:g} s, and was ended (--cell-timeout)") from None


@contextmanager
def _interrupted(seconds: float) -> Iterator[None]:
    if os.name == "nt":  # it has no such timer: only what ends the process
        yield
        return

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise _TimeUp

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, seconds, 1.0)  # and again each second: one may be swallowed
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def _ended(seconds: float) -> Iterator[None]:
    if _mark is None:
        yield
        return
    with _mark.open("w", encoding="utf-8") as told:
        faulthandler.dump_traceback_later(seconds, exit=True, file=told)
        try:
            yield
        finally:
            faulthandler.cancel_dump_traceback_later()
