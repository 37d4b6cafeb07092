"""Workers may die; what they had is done again. This module imports little, since every new worker imports it."""

from __future__ import annotations

import os
import time
import warnings
from contextlib import suppress
from pathlib import Path

import pytest

from embrm.core.engine import compute
from embrm.core.processes import PAYS, spread, use_workers
from embrm.errors import OptionError, WorkerError


def suicidal(job: tuple[Path, int]) -> int:
    """Kill this process, the first time or always."""
    mark, deaths = job
    died = len(mark.read_text(encoding="utf-8")) if mark.exists() else 0
    if died < deaths:
        mark.write_text("x" * (died + 1), encoding="utf-8")
        os.kill(os.getpid(), 9)
    return died


def test_what_a_dead_worker_had_is_done_again_at_most_three_times(tmp_path: Path) -> None:
    jobs = [(tmp_path / str(i), deaths) for i, deaths in enumerate([0, 0, 1, 0, 99, 0])]
    answers = dict(compute(suicidal, jobs, engine="local", workers=2))
    assert set(answers) == set(jobs)
    assert answers[jobs[2]] == 1
    assert answers[jobs[4]] == "died"
    assert sum(answer == "died" for answer in answers.values()) == 1


opened: list[bytes] = []


def opening(job: int) -> int:
    """Keep as much as a data set takes, from the second job on, and take longer than joblib looks away."""
    if job > 1:
        opened.append(b"x" * (180 << 20))
    time.sleep(1.05)
    return os.getpid()


@pytest.mark.slow
def test_a_worker_that_opens_its_data_is_not_replaced() -> None:
    assert len({answer for _, answer in compute(opening, range(10), engine="local", workers=2)}) == 2


def process_of(job: int) -> tuple[int, int, str | None]:
    warnings.warn("as often as it likes", UserWarning, stacklevel=1)
    return job, os.getpid(), os.environ.get("EMBRM_CHECK")


def children() -> set[int]:
    """Return the processes that this one has started, dead ones that nobody waited for among them."""
    found: set[int] = set()
    for task in Path("/proc/self/task").iterdir():
        with suppress(FileNotFoundError):  # a thread that has ended since leaves its children to another
            found.update(int(pid) for pid in (task / "children").read_text().split())
    return found


def is_zombie(pid: int) -> bool:
    stat = Path(f"/proc/{pid}/stat")
    return stat.exists() and stat.read_text().rpartition(")")[2].split()[0] == "Z"


def test_answers_come_in_order_out_of_other_processes_with_this_ones_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EMBRM_CHECK", "mine")
    done: list[int] = []
    with use_workers(2), pytest.warns(UserWarning, match="as often") as seen:
        found = spread(process_of, range(5), names=list("abcde"), done=done.append)
    assert [number for number, _, _ in found] == list(range(5))
    assert os.getpid() not in {pid for _, pid, _ in found}
    assert {check for _, _, check in found} == {"mine"}
    assert sorted(done) == list(range(5))
    assert len(seen) == 1  # once, whoever said it


def test_little_work_stays_in_this_process() -> None:
    for count in (None, 1):
        with use_workers(count), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = spread(process_of, [7, 8], names=["a", "b"])
        assert [(n, pid) for n, pid, _ in found] == [(7, os.getpid()), (8, os.getpid())]


def test_much_work_goes_to_processes_once_the_first_job_took_long(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, PAYS])
    monkeypatch.setattr(time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr("embrm.core.processes.cores", lambda: 2)
    with use_workers(None), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (_, first, _), *others = spread(process_of, range(3), names=list("abc"))
    assert first == os.getpid() and first not in {pid for _, pid, _ in others}  # noqa: PT018


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at /proc")
def test_a_worker_that_dies_names_its_job_and_leaves_no_zombie(tmp_path: Path) -> None:
    jobs = [(tmp_path / str(i), deaths) for i, deaths in enumerate([0, 99, 0])]
    with use_workers(2), pytest.raises(WorkerError, match="process that worked on linear, seed 1 died 3 times"):
        spread(suicidal, jobs, names=[f"linear, seed {i}" for i in range(3)])
    until = time.monotonic() + 10  # the executor's own thread takes leave of the last one
    while (left := [pid for pid in children() if is_zombie(pid)]) and time.monotonic() < until:
        time.sleep(0.05)
    assert not left


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks at /proc")
@pytest.mark.parametrize("stop", [KeyboardInterrupt, ValueError])
def test_what_interrupts_ends_the_workers(stop: type[BaseException]) -> None:
    def tell(number: int) -> None:
        raise stop

    others = children()
    with use_workers(2), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(stop):
            spread(process_of, range(4), names=list("abcd"), done=tell)
    until = time.monotonic() + 10
    while (left := children() - others) and time.monotonic() < until:  # that of joblib, which removes what they leave
        time.sleep(0.05)
        left = {pid for pid in left if "resource_tracker" not in Path(f"/proc/{pid}/cmdline").read_text()}
        if not left:
            break
    assert not left


def test_workers_are_counted_from_one() -> None:
    with pytest.raises(OptionError, match="workers must be >= 1, or None for as many as pay, got 0"), use_workers(0):
        pass
