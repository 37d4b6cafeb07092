"""Workers may die; what they had is done again. This module imports little, since every new worker imports it."""

from __future__ import annotations

import os
from pathlib import Path

from embrm.study.runner.engine import compute


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
