"""How many threads compute: one for the library's small work, and all that the caller allows for models.

A thread of OpenMP or BLAS that waits for another spins, so beside any other process two threads take many times as long
as one for matrices of this library's size (benchmarks/threads.py). OpenMP's and torch's settings belong to the thread
that makes them, BLAS's to the process; both are put back as they were found.
"""

from __future__ import annotations

import sys
import threading
from contextlib import ContextDecorator
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass
class _Process:
    """BLAS libraries that are limited, and how many threads ask for it: the first limits, the last puts back."""

    lock: threading.RLock = field(default_factory=threading.RLock)
    users: int = 0
    blas: dict[str, tuple[Any, int]] = field(default_factory=dict)  # path → library, threads as found
    torch: int = 0  # threads as the first user found them
    libraries: list[Any] = field(default_factory=list)  # all that were there
    modules: int = -1  # `len(sys.modules)` when they were looked for


class _Here(threading.local):
    """What this thread has limited."""

    def __init__(self) -> None:
        self.depth = 0
        self.strict = 0  # of these, how many hold for models too
        self.modules = -1  # `len(sys.modules)` when libraries were last looked for
        self.openmp: dict[str, tuple[Any, int]] = {}
        self.torch = 0  # threads as found, or 0 where torch is not limited
        self.widened: list[int] = []


_process = _Process()
_here = _Here()


class OneThread(ContextDecorator):
    """Limits BLAS, OpenMP and torch to one thread inside a `with` block or a function, and then puts them back.

    Blocks may nest and overlap, also in several threads. A library that is loaded meanwhile is found when the next
    block begins; torch is never loaded for it. A nested block costs about a microsecond, an outermost one ten.

    Args:
        models: whether the limit also holds inside `all_threads`.
    """

    def __init__(self, *, models: bool = False) -> None:
        self._models = models

    def __enter__(self) -> None:
        if _here.depth == 0 or _here.modules != len(sys.modules):  # a library can only appear with an import
            try:
                _limit()
            except BaseException:
                if _here.depth == 0:
                    _restore()
                raise
        _here.depth += 1
        _here.strict += self._models

    def __exit__(self, *error: object) -> None:
        _here.depth -= 1
        _here.strict -= self._models
        if _here.depth == 0:
            _restore()


class AllThreads(ContextDecorator):
    """Gives torch the caller's threads back for a model's work in a `one_thread` block, and then limits it again."""

    def __enter__(self) -> None:
        if _here.strict and _here.modules != len(sys.modules):
            _limit()  # torch may have been loaded for the model since the block began
        torch = sys.modules.get("torch")
        wide = _here.torch if torch is not None and not _here.strict else 0
        _here.widened.append(torch.get_num_threads() if torch is not None and wide else 0)
        if torch is not None and wide:
            torch.set_num_threads(wide)

    def __exit__(self, *error: object) -> None:
        before = _here.widened.pop()
        if before:
            sys.modules["torch"].set_num_threads(before)


one_thread = OneThread()
strictly_one_thread = OneThread(models=True)
all_threads = AllThreads()


class Limited:
    """A base class whose subclasses do the named methods under `one_thread`, whoever wrote them."""

    _limited: ClassVar[tuple[str, ...]] = ()

    def __init_subclass__(cls, *, limited: tuple[str, ...] = (), **options: Any) -> None:
        super().__init_subclass__(**options)
        cls._limited = getattr(cls, "_limited", ()) + limited
        for name in cls._limited:
            if name in cls.__dict__:
                setattr(cls, name, one_thread(cls.__dict__[name]))


def _limit() -> None:
    with _process.lock:
        if _here.depth == 0:
            _process.users += 1
        torch = sys.modules.get("torch")
        ready = hasattr(torch, "set_num_threads")  # not where it is being loaded at this moment
        if torch is not None and ready and not _here.torch:
            own = torch.get_num_threads()
            # A new thread begins with what another one, which is limited, has set for both.
            _here.torch = _process.torch if own == 1 and _process.torch else own
            _process.torch = _process.torch or own
            torch.set_num_threads(1)
        for library in _libraries():
            found = _process.blas if library.user_api == "blas" else _here.openmp
            if library.filepath not in found:
                found[library.filepath] = library, library.get_num_threads()
                _set(library, 1)
        _here.modules = len(sys.modules)


def _libraries() -> list[Any]:
    from threadpoolctl import ThreadpoolController

    if _process.modules != len(sys.modules):  # looking takes milliseconds
        _process.libraries = ThreadpoolController().lib_controllers
        _process.modules = len(sys.modules)
    return _process.libraries


def _set(library: Any, threads: int) -> None:
    """Set a library's threads, whichever thread set them last: threadpoolctl lets only that one, until it is done."""
    yielded = getattr(library, "clear_controlling_thread", lambda *, force: None)
    yielded(force=True)
    library.set_num_threads(threads)
    yielded(force=True)


def _restore() -> None:
    with _process.lock:
        _here.modules = -1
        for library, threads in _here.openmp.values():
            _set(library, threads)
        _here.openmp.clear()
        if _here.torch:
            sys.modules["torch"].set_num_threads(_here.torch)
        _here.torch = 0
        _process.users -= 1
        if _process.users == 0:
            for library, threads in _process.blas.values():
                _set(library, threads)
            _process.blas.clear()
            _process.torch = 0
