"""Fits and other jobs that do not depend on each other, in as many processes as the caller allows or as pay."""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from embrm.core.engine import TRIES, compute
from embrm.core.machine import cores
from embrm.core.progress import tracked
from embrm.errors import OptionError, WorkerError

_Warned: TypeAlias = tuple[str, type[Warning], str, int]
Job = TypeVar("Job")
Answer = TypeVar("Answer")
PAYS = 20.0  # seconds of work in all that repay the start of processes, which import what they need anew

_workers: ContextVar[int | None] = ContextVar("workers", default=1)


@contextmanager
def use_workers(count: int | None) -> Iterator[None]:
    """Let fits that do not depend on each other be computed in several processes inside a `with` block.

    What comes out is the same for any number of them, bit for bit.

    Args:
        count: how many; 1 computes in this process. None computes the first of them here, and the others in one process
            a core where that took so long that it pays.

    Raises:
        OptionError: `count` is below 1.
    """
    if count is not None and count < 1:
        raise OptionError(f"workers must be >= 1, or None for as many as pay, got {count}")
    before = _workers.set(count)
    try:
        yield
    finally:
        _workers.reset(before)


def is_spread() -> bool:
    """Say whether `spread` may compute elsewhere than in this process."""
    return _workers.get() != 1


def spread(
    function: Callable[[Job], Answer],
    jobs: Sequence[Job],
    *,
    names: Sequence[str],
    done: Callable[[int], None] = lambda number: None,
) -> list[Answer]:
    """Return what a function makes of each job, computed where `use_workers` says.

    Arrays of the jobs lie in memory that the processes share. What a job warns of is said here.

    Args:
        function: what is done with a job; it must be importable, as the method of a recipe is.
        jobs: what does not depend on each other.
        names: of the jobs, for messages.
        done: told the number of each job that is done, in whatever order.

    Raises:
        WorkerError: a process died at a job three times; its name is in the message.
    """
    answers: dict[int, Answer] = {}
    count, left = _workers.get(), list(range(len(jobs)))
    if len(jobs) > 1 and count is None:
        start, count = time.perf_counter(), 1
        with use_workers(1):
            answers[0] = function(jobs[left.pop(0)])
        done(0)
        if cores() > 1 and (time.perf_counter() - start) * len(left) > PAYS:
            count = min(cores(), len(left))
    if len(left) < 2 or count is None or count == 1:
        for number in tracked(left, "fits"):
            answers[number] = function(jobs[number])
            done(number)
        return [answers[number] for number in range(len(jobs))]
    inside = _InProcess(function, {name: value for name, value in os.environ.items() if name.startswith("EMBRM_")})
    said: dict[tuple[str, type[Warning]], _Warned] = {}
    ordered = [(number, jobs[number]) for number in left]
    with closing(compute(inside, ordered, engine="local", workers=min(count, len(left)))) as found:
        for _, ((number, _), answer) in zip(tracked(left, "fits"), found, strict=True):
            if answer == "died" or answer == "hung":
                raise WorkerError(
                    f"the process that worked on {names[number]} died {TRIES} times; if memory was short, give fewer "
                    "workers"
                )
            answers[number], warned = answer
            said |= {(one[0], one[1]): one for one in warned}
            done(number)
    for message, category, file, line in said.values():
        warnings.warn_explicit(message, category, file, line)
    return [answers[number] for number in range(len(jobs))]


@dataclass(frozen=True)
class _InProcess(Generic[Job, Answer]):
    """A function as another process calls it: with the settings of this one, and with what it warned of beside."""

    function: Callable[[Job], Answer]
    settings: Mapping[str, str]

    def __call__(self, job: tuple[int, Job]) -> tuple[Answer, list[_Warned]]:
        for name in [name for name in os.environ if name.startswith("EMBRM_")]:
            del os.environ[name]
        os.environ.update(self.settings)
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("ignore")
            warnings.simplefilter("always", UserWarning)
            answer = self.function(job[1])
        return answer, [(str(w.message), w.category, w.filename, w.lineno) for w in seen]
