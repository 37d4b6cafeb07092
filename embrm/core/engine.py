"""Where jobs are computed: in this process, in processes of this machine, or on a Ray cluster."""

from __future__ import annotations

import logging
import os
import signal
import tempfile
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from embrm.core.watchdog import end_with, marking
from embrm.errors import MissingExtraError

EngineName: TypeAlias = Literal["local", "ray"]
Death: TypeAlias = tuple[type[Exception], ...]  # what is raised where a worker died
Job = TypeVar("Job")
Answer = TypeVar("Answer")
Lost: TypeAlias = Literal["died", "hung"]  # what became of the worker of a job without an answer
TRIES = 3  # of a batch whose worker died
# Bytes by which a worker may grow. joblib's 300 MB are less than a data set that it opens: joblib would take that for a
# leak, replace the worker, and have the data sets opened again.
GROWTH = 2**31


def compute(
    function: Callable[[Job], Answer],
    jobs: Sequence[Job],
    *,
    engine: EngineName,
    workers: int | None,
    apart: bool = False,
) -> Generator[tuple[Job, Answer | Lost], None, None]:
    """Yield each job with its answer as soon as it is there, or with what became of its worker.

    When a worker dies, the jobs that were under way are handed out again, up to `TRIES` times, and no answer that has
    come is lost. One that was ended because it hung (`embrm.core.watchdog`) is not tried again. Workers of this
    machine end within seconds of this process, however it ends.

    Args:
        function: what is done with a job, in whatever process.
        jobs: the first are begun first.
        engine: "local" or "ray".
        workers: processes; one computes in this process, None takes all cores of the machine or of the cluster.
        apart: compute in another process also where there is but one.
    """
    if engine == "local" and workers == 1 and not apart:
        for job in jobs:
            yield job, function(job)
        return
    deaths: Counter[int] = Counter()
    waiting = dict(enumerate(jobs))
    with _backend(engine, workers) as (fresh, death), tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as marks:
        while waiting:
            # Any job under way may have killed its worker; those that were twice are done last and alone, to be sure.
            sure = {number: job for number, job in waiting.items() if deaths[number] < TRIES - 1}
            begun: list[int] = []
            some = sure or dict([next(iter(waiting.items()))])
            with _deaf():
                answers = fresh()(_begin(function, some, begun, Path(marks)))
            try:
                for number, answer in answers:
                    yield waiting.pop(number), answer
            except death:
                for number in [number for number in begun if number in waiting and _hung(Path(marks) / str(number))]:
                    yield waiting.pop(number), "hung"
                deaths.update(number for number in begun if number in waiting)
                for number in [n for n in waiting if deaths[n] >= TRIES]:
                    yield waiting.pop(number), "died"
            finally:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # joblib's, that what is under way is dropped
                    answers.close()


def _start_worker(parent: int, at_once: bool) -> None:
    from joblib.externals.loky import process_executor

    process_executor._MAX_MEMORY_LEAK_SIZE = GROWTH  # there is no option for it
    end_with(parent, at_once)


@contextmanager
def _deaf() -> Iterator[None]:
    """Let processes that are started inside the block not hear Ctrl-C, which a terminal sends to all of them.

    It is for this process to end them. Inside, it comes to another thread of this one, or afterwards.
    """
    if not hasattr(signal, "pthread_sigmask"):
        yield
        return
    from multiprocessing import resource_tracker

    resource_tracker.ensure_running()  # it is started with the first worker, and would then unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _hung(mark: Path) -> bool:
    return mark.exists() and mark.stat().st_size > 0


def _begin(function: Callable[[Job], Answer], jobs: dict[int, Job], begun: list[int], marks: Path) -> Iterator[Any]:
    from joblib import delayed

    for number, job in list(jobs.items()):
        begun.append(number)
        yield delayed(_numbered)(function, number, job, marks)


def _numbered(function: Callable[[Job], Answer], number: int, job: Job, marks: Path) -> tuple[int, Answer]:
    with marking(marks / str(number) if marks.exists() else None):  # on another machine it does not
        return number, function(job)


@contextmanager
def _backend(engine: EngineName, workers: int | None) -> Iterator[tuple[Callable[[], Any], Death]]:
    """Give what makes joblib's `Parallel` for the engine, and the exceptions that mean the death of a worker.

    One that lost a worker is not used again: answers of its others would still come in.
    """
    import joblib

    options: dict[str, Any] = {"return_as": "generator_unordered", "batch_size": 1, "pre_dispatch": "n_jobs"}
    if engine == "ray":
        death = _register_ray()
        with joblib.parallel_config("embrm-ray", n_jobs=workers or -1):
            yield lambda: joblib.Parallel(**options), death
    else:
        from joblib.externals.loky import get_reusable_executor
        from joblib.externals.loky.process_executor import BrokenProcessPool

        lasting = threading.current_thread() is threading.main_thread()
        loky = joblib.parallel_config(
            "loky",
            n_jobs=workers or joblib.cpu_count(),
            inner_max_num_threads=1,
            mmap_mode="c",  # copies on writing: torch takes no array that nobody may write to
            initializer=_start_worker,
            initargs=(os.getpid(), lasting),
        )
        with loky, warnings.catch_warnings():
            # Said of a worker that is replaced; where warnings are errors the thread that hands out jobs would die of
            # it, and the run would wait for ever.
            warnings.filterwarnings("ignore", message="A worker stopped")
            try:
                yield lambda: joblib.Parallel(**options), (BrokenProcessPool,)
            except BaseException:
                get_reusable_executor(reuse=True).shutdown(wait=False, kill_workers=True)
                raise


def _register_ray() -> Death:
    try:
        import ray
        from ray.util.joblib.ray_backend import RayBackend
    except ImportError:
        raise MissingExtraError("--engine ray needs Ray: pip install 'embrm[ray]'") from None
    from joblib import register_parallel_backend

    class Streaming(RayBackend):  # type: ignore[misc, unused-ignore]
        """Ray's own backend for joblib; it answers through callbacks, so answers need not wait for each other."""

        supports_return_generator = True

    register_parallel_backend("embrm-ray", Streaming)
    if not ray.is_initialized():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            ray.init(log_to_driver=False, logging_level=logging.ERROR)  # RAY_ADDRESS names a cluster that stands
    return (ray.exceptions.RayError,)
