"""Requests that wait are answered together: one thread works, and takes at its next turn all that came meanwhile."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Told = TypeVar("Told")

MOST = 256  # requests that are answered together


class Batches(Generic[Asked, Told]):
    """A queue before a function of many requests, for use inside one event loop.

    Args:
        answer: requests → an answer for each; it runs in a thread, never twice at once.
    """

    def __init__(self, answer: Callable[[Sequence[Asked]], Sequence[Told]]) -> None:
        self._answer = answer
        self._queue: deque[tuple[Asked, asyncio.Future[Told]]] = deque()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="embrm-serve")
        self._work: asyncio.Task[None] | None = None

    async def ask(self, request: Asked) -> Told:
        """Return the answer of a request."""
        future: asyncio.Future[Told] = asyncio.get_running_loop().create_future()
        self._queue.append((request, future))
        if self._work is None or self._work.done():
            self._work = asyncio.create_task(self._run())
        return await future

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._queue:
            batch = [self._queue.popleft() for _ in range(min(MOST, len(self._queue)))]
            try:
                answers = await loop.run_in_executor(self._thread, self._answer, [request for request, _ in batch])
            except BaseException as error:  # whoever waits must hear of it, or waits for ever
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), told in zip(batch, answers, strict=True):
                if not future.done():  # who asked may have gone away
                    future.set_result(told)
