"""Run a study: what is missing in its folder is computed and written, row by row."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias

from embrm.core.arrays import positive
from embrm.core.files import check_writable
from embrm.errors import OptionError
from embrm.study.config import StudyConfig
from embrm.study.results import Labelling, Results, Row
from embrm.study.runner.costs import Costs
from embrm.study.runner.engine import TRIES, EngineName, Lost, compute
from embrm.study.runner.journal import Journal, writing
from embrm.study.runner.lock import held
from embrm.study.runner.plan import CellBatch, Plan, check_heads, opened, plan
from embrm.study.runner.worker import CellOutcome, TunedRecipe, work
from embrm.study.table import write_tables

Job: TypeAlias = tuple[CellBatch, Collection[str], Mapping[Labelling, TunedRecipe]]
PHASES = (("control", "tuning"), ("fit",), ("rl",))  # fits take the options that tuning chose


class Progress(Protocol):
    """Told how far a run is."""

    def __call__(self, done: float, total: float, text: str) -> None:
        """Show estimated core-seconds of work, done and in all, and a count of cells."""


def run(
    config: StudyConfig,
    folder: Path,
    *,
    engine: EngineName = "local",
    workers: int | None = None,
    only: Sequence[str] = (),
    cell_timeout: float | None = None,
    progress: Progress = lambda done, total, text: None,
) -> Results:
    """Run a study, or what is missing of it, and return all results of its folder.

    A cell that fails is named in `Results.failures`, and tried again by the next run; all others are there.

    Args:
        config: see `embrm.study.config`.
        folder: gets `cells/`, `config.json`, `results.parquet`, `timings.parquet` and `log.txt`.
        engine: "local" computes in processes of this machine, "ray" on a Ray cluster.
        workers: how many processes; None takes one a core. The results do not depend on it.
        only: names of claims; nothing but the cells that they read is computed.
        cell_timeout: seconds that the fit of a cell may take, and then what is measured of it; a cell that takes longer
            fails, and one that cannot be interrupted takes its batch along. None: no limit.
        progress: see `Progress`.

    Raises:
        OptionError: the folder cannot be written, or a head asks for a rule that its reward does not allow.
        DataError: another process works on the folder, it is of another schema version, or the disk is full.
        MissingExtraError: Ray is not installed.
    """
    if workers is not None and workers < 1:
        raise OptionError(f"workers must be >= 1, got {workers}; leave it out for one a core")
    if cell_timeout is not None:
        positive("cell_timeout", cell_timeout)
    if not (folder / "lock").exists():  # a run that was killed at its start leaves nothing else
        check_writable(folder, folder=True)
    with writing(folder):
        (folder / "cells").mkdir(parents=True, exist_ok=True)
    with held(folder / "lock"):
        before = Results.load(folder) if (folder / "config.json").exists() else None
        whole = plan(config)
        _forget_not_run(whole, folder)
        missing = missing_of(part_of(whole, only), folder)
        if before and not missing and before.config == config and before.environment["finished"]:
            return before
        for data in config.datasets:
            opened(data)  # a fault is told before any work, and a language model writes its pool but once
        check_heads(config, [head for head in config.heads if any(head == batch.head for batch in missing)])
        for left in (folder / "cells").glob(".*"):  # by a process that was killed while writing
            shutil.rmtree(left)
        journal = Journal(folder, whole, before=before, engine=engine, workers=_count(workers))
        _StudyRun(config, folder, journal, progress, Costs.of(config, folder), cell_timeout).compute(
            missing, engine=engine, workers=workers
        )
        results = Results.load(folder)
        with writing("results.parquet"):
            write_tables(results, folder)
        journal.note(finished=True)
    return replace(results, failures=journal.failures, environment=journal.environment)


def part_of(whole: Plan, only: Sequence[str]) -> Plan:
    """Return what the named claims need of a plan, or all of it where none is named."""
    if not only:
        return whole
    from embrm.study.claims import heads_of

    return whole.only(frozenset().union(*map(heads_of, only)))


def missing_of(wanted: Plan, folder: Path) -> list[CellBatch]:
    """Return the batches that lack rows."""
    there = {file.stem for file in (folder / "cells").glob("*.npz")}
    return [batch for batch in wanted.batches if not there.issuperset(batch.cells.values())]


def _forget_not_run(whole: Plan, folder: Path) -> None:
    """Remove the rows of training runs that something was not installed for: it may be by now."""
    for key in (key for batch in whole.batches if batch.kind == "rl" for key in batch.cells.values()):
        path = folder / "cells" / f"{key}.npz"
        if path.exists() and "not_run" in Row.load(path).notes:
            path.unlink()


def _count(workers: int | None) -> int:
    from joblib import cpu_count

    return workers or int(cpu_count())


@dataclass(frozen=True)
class _StudyRun:
    config: StudyConfig
    folder: Path
    journal: Journal
    progress: Progress
    costs: Costs
    limit: float | None

    def compute(self, missing: Sequence[CellBatch], *, engine: EngineName, workers: int | None) -> None:
        """Compute the missing rows phase by phase, long batches first, and write each as soon as it is there."""
        total, count = sum(map(self.costs.seconds, missing)), sum(len(batch.cells) for batch in missing)
        done, cells = 0.0, 0
        for phase in PHASES:
            batches = sorted((b for b in missing if b.kind in phase), key=self.costs.seconds, reverse=True)
            jobs = [self._job(batch) for batch in batches]
            function, apart = partial(_work, self.config, self.limit), self.limit is not None
            with closing(compute(function, jobs, engine=engine, workers=workers, apart=apart)) as answers:
                for (batch, keys, _), outcome in answers:
                    self._keep(batch, keys, outcome)
                    done, cells = done + self.costs.seconds(batch), cells + len(batch.cells)
                    self.progress(done, total, f"{cells} of {count} cells")

    def _job(self, batch: CellBatch) -> Job:
        """Return a batch with the keys of its missing rows and the options that tuning chose."""
        chosen: dict[Labelling, TunedRecipe] = {}
        for labelling, key in batch.tuning.items():
            path = self._path(key)
            if path.exists():
                row = Row.load(path)
                chosen[labelling] = {"recipe": row.notes["best"], "temperature": row.numbers["temperature"]}
        keys = set()
        for cell, key in batch.cells.items():
            if not self._path(key).exists():
                self.journal.failures.pop(str(cell), None)
                if batch.tuning and cell.labelling not in chosen:
                    self.journal.failed(cell, "no options could be chosen for it, see the failure of its tuning")
                else:
                    keys.add(key)
        return batch, keys, chosen

    def _keep(self, batch: CellBatch, keys: Collection[str], outcome: CellOutcome | Lost) -> None:
        """Write the rows of a batch, and what failed."""
        if not isinstance(outcome, CellOutcome):
            why = f"its worker died {TRIES} times; if memory was short, give fewer --workers"
            if outcome == "hung":
                why = f"its worker hung for more than {self.limit or 0:g} s, and was ended (--cell-timeout)"
            outcome = CellOutcome(failures={cell: why for cell, key in batch.cells.items() if key in keys})
        for row in outcome.rows:
            with writing(row.cell):
                row.save(self.folder / "cells")
        for note in outcome.notes:
            self.journal.log(note)
        for cell, why in outcome.failures.items():
            self.journal.failed(cell, why)
        self.journal.log(f"{batch}: {len(outcome.rows)} rows")
        self.journal.note()

    def _path(self, key: str) -> Path:
        return self.folder / "cells" / f"{key}.npz"


def _work(config: StudyConfig, limit: float | None, job: Job) -> CellOutcome:
    return work(config, *job, limit=limit)
