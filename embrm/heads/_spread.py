"""Fits in several processes, which give the same numbers as fits in this one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from embrm.core.data import Problem
from embrm.core.processes import is_spread, use_workers
from embrm.heads._head import FittedHead, Head


def fit_many(head: Head, problems: Sequence[Problem], *, workers: int | None = 1) -> list[FittedHead]:
    """Fit problems, those that are not trained in one batch in several processes.

    Args:
        head: the recipe.
        problems: see `Head.fit_many`.
        workers: see `embrm.use_workers`.

    Raises:
        WorkerError: a process died at a fit three times; the message names the head and the seed of its problem.
    """
    with use_workers(workers):
        return head.fit_many(problems)


@contextmanager
def settled() -> Iterator[None]:
    """Decide here what each process would measure for itself, where `embrm.use_workers` says that there are several."""
    if not is_spread():
        yield
        return
    from embrm.heads.gradient import precision

    with precision.settled():
        yield
