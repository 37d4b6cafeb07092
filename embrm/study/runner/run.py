"""Run a study: what is missing in its folder is computed and written, row by row."""

from __future__ import annotations

import os
import re
import shutil
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias

from embrm.core.arrays import positive
from embrm.core.engine import TRIES, EngineName, Lost, compute
from embrm.core.files import check_writable
from embrm.errors import DataError, OptionError
from embrm.study.config import StudyConfig
from embrm.study.results import NAME, Labelling, Results, Row
from embrm.study.runner.costs import Costs, Remaining
from embrm.study.runner.journal import Journal, writing
from embrm.study.runner.lock import held
from embrm.study.runner.plan import PHASES, CellBatch, Plan, check_heads, opened, plan
from embrm.study.runner.worker import CellOutcome, TunedRecipe, work
from embrm.study.table import write_tables

Job: TypeAlias = tuple[CellBatch, Collection[str], Mapping[Labelling, TunedRecipe]]
LEFT = re.compile(rf"\.{NAME.pattern}\.npz\.\w{{8}}-\d+")  # what a process that is killed while it writes leaves


class Progress(Protocol):
    """Told how far a run is."""

    def __call__(self, done: float, total: float, text: str, left: float) -> None:
        """Show foretold core-seconds of work, done and in all, a count of cells, and the seconds that are left."""


def run(
    config: StudyConfig,
    folder: Path,
    *,
    engine: EngineName = "local",
    workers: int | None = None,
    only: Sequence[str] = (),
    cell_timeout: float | None = None,
    progress: Progress = lambda done, total, text, left: None,
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
        damaged: dict[str, DataError] = {}
        before = Results.load(folder, damaged=damaged) if (folder / "config.json").exists() else None
        whole = plan(config)
        kept = kept_of(whole, folder, before, damaged)
        missing = missing_of(part_of(whole, only), kept)
        done = before is not None and before.config == config and before.environment["finished"] and not missing
        if before and done and kept <= {row.key for row in before.rows}:  # else config.json was changed
            return before
        for data in config.datasets:
            opened(data)  # a fault is told before any work, and a language model writes its pool but once
        check_heads(config, [head for head in config.heads if any(head == batch.head for batch in missing)])
        journal = Journal(folder, whole, before=before, engine=engine, workers=_count(workers))
        cells = sum(len(set(batch.cells.values()) - kept) for batch in missing)
        journal.log(f"begins with {_count(workers)} workers, engine {engine}: {cells} of {len(whole.keys)} cells")
        for told in (*_swept(folder / "cells"), *(f"{error}; its row is computed again" for error in damaged.values())):
            warnings.warn(told, stacklevel=2)
            journal.log(told)
        _StudyRun(config, folder, journal, progress, Costs.of(config, folder), cell_timeout, kept).compute(
            missing, engine=engine, workers=workers
        )
        results = Results.load(folder)
        with writing(folder / "results.parquet"):
            write_tables(results, folder)
        journal.note(finished=True)
    return replace(results, failures=journal.failures, environment=journal.environment)


def part_of(whole: Plan, only: Sequence[str]) -> Plan:
    """Return what the named claims need of a plan, or all of it where none is named."""
    if not only:
        return whole
    from embrm.study.claims import heads_of

    return whole.only(frozenset().union(*map(heads_of, only)))


def kept_of(whole: Plan, folder: Path, before: Results | None, damaged: dict[str, DataError]) -> set[str]:
    """Return the keys of the rows of a plan that lie in a folder and can be believed.

    Rows of training runs that something was not installed for are not among them: it may be by now.

    Args:
        whole: the plan.
        folder: of the study.
        before: what was read of it already.
        damaged: what is wrong with other rows, by their keys; it gets those that were not read before.
    """
    read = {row.key: row for row in before.rows} if before else {}
    kept = set()
    for cell, key in whole.keys.items():
        path = folder / "cells" / f"{key}.npz"
        try:
            if key in damaged or (key not in read and not os.path.lexists(path)):
                continue
            row = read.get(key) or Row.load(path)
        except DataError as error:
            damaged[key] = error
            continue
        if row.cell != cell:
            damaged[key] = DataError(f"{path} is damaged (it says to be of {row.cell})")
        elif "not_run" not in row.notes:
            kept.add(key)
    return kept


def missing_of(wanted: Plan, kept: Collection[str]) -> list[CellBatch]:
    """Return the batches of which some row is not among those that were kept."""
    return [batch for batch in wanted.batches if not set(batch.cells.values()) <= set(kept)]


def _swept(cells: Path) -> Iterator[str]:
    """Remove what a process that was killed left while it wrote, and say what else does not belong there."""
    foreign = []
    for path in sorted(cells.iterdir()):
        if LEFT.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.suffix != ".npz" or not NAME.fullmatch(path.stem):
            foreign.append(path.name)
    if foreign:
        some = ", ".join(map(repr, foreign[:5])) + (f" and {len(foreign) - 5} more" if len(foreign) > 5 else "")
        yield f"{cells} holds what is no row of a study, and it was left alone: {some}"


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
    kept: set[str]

    def compute(self, missing: Sequence[CellBatch], *, engine: EngineName, workers: int | None) -> None:
        """Compute the missing rows phase by phase, long batches first, and write each as soon as it is there."""
        total, count = sum(map(self.costs.seconds, missing)), sum(len(batch.cells) for batch in missing)
        done, cells = 0.0, 0
        remaining = Remaining(self.costs, missing, workers=_count(workers))
        for phase in PHASES:
            batches = sorted((b for b in missing if b.kind in phase), key=self.costs.seconds, reverse=True)
            jobs = [self._job(batch) for batch in batches]
            function, apart = partial(_work, self.config, self.limit), self.limit is not None
            with closing(compute(function, jobs, engine=engine, workers=workers, apart=apart)) as answers:
                for (batch, keys, _), outcome in answers:
                    self._keep(batch, keys, outcome)
                    done, cells = done + self.costs.seconds(batch), cells + len(batch.cells)
                    remaining.finish(batch, () if isinstance(outcome, str) else outcome.rows)
                    self.progress(done, total, f"{cells} of {count} cells", remaining.seconds())

    def _job(self, batch: CellBatch) -> Job:
        """Return a batch with the keys of its missing rows and the options that tuning chose."""
        chosen: dict[Labelling, TunedRecipe] = {}
        for labelling, key in batch.tuning.items():
            if key in self.kept:
                row = Row.load(self.folder / "cells" / f"{key}.npz")
                chosen[labelling] = {"recipe": row.notes["best"], "temperature": row.numbers["temperature"]}
        keys = set()
        for cell, key in batch.cells.items():
            if key not in self.kept:
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
            with writing(f"{row.cell} into {self.folder}"):
                row.save(self.folder / "cells")
            self.kept.add(row.key)
        for note in outcome.notes:
            self.journal.log(note)
        for cell, why in outcome.failures.items():
            self.journal.failed(cell, why)
        self.journal.log(f"{batch}: {len(outcome.rows)} rows")
        self.journal.note()


def _work(config: StudyConfig, limit: float | None, job: Job) -> CellOutcome:
    return work(config, *job, limit=limit)
