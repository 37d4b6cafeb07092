"""What a worker process does with one batch: choose options, fit, measure; a failure stays with its cell."""

from __future__ import annotations

import time
import traceback
import warnings
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from embrm.core.data import Pairs, Problem
from embrm.core.device import use_device
from embrm.core.files import fingerprint
from embrm.core.threads import strictly_one_thread
from embrm.core.watchdog import limited
from embrm.errors import EmbrmError
from embrm.heads import FittedHead, Head
from embrm.study.config import StudyConfig
from embrm.study.datasets import Dataset
from embrm.study.results import Cell, Labelling, Row
from embrm.study.runner.plan import CellBatch, opened, tuning_seed

TunedRecipe: TypeAlias = Mapping[str, Any]  # what the row of tuning says: `recipe` and `temperature`


@dataclass
class CellOutcome:
    """What came of a batch.

    Attributes:
        rows: those that were missing.
        failures: cell → why it failed, in one line.
        notes: for the log: warnings and tracebacks.
        limit: seconds that a fit may take, and then what is measured of it; None for no limit.
    """

    rows: list[Row] = field(default_factory=list)
    failures: dict[Cell, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    limit: float | None = None

    @contextmanager
    def guarding(self, cells: Collection[Cell], *, timed: bool = True) -> Iterator[None]:
        """Turn what is raised inside the block, or takes too long, into failures of these cells."""
        try:
            with limited(self.limit if timed else None):
                yield
        except (Exception, SystemExit) as error:  # another package's head may do anything
            words = str(error) if isinstance(error, EmbrmError) else f"{type(error).__name__}: {error}"
            self.failures |= {cell: " ".join(words.split()) for cell in cells}
            self.notes.append(f"{next(iter(cells))} failed\n{''.join(traceback.format_exception(error)).rstrip()}")


def work(
    config: StudyConfig,
    batch: CellBatch,
    missing: Collection[str],
    chosen: Mapping[Labelling, TunedRecipe],
    *,
    limit: float | None = None,
) -> CellOutcome:
    """Compute a batch and return its missing rows.

    Models too have one thread: workers share the cores, and sums come out the same on every machine's number of them.

    Args:
        config: the study.
        batch: the cells.
        missing: keys of the rows that are wanted.
        chosen: mechanism and flips → the options that tuning chose.
        limit: see `CellOutcome`.
    """
    outcome = CellOutcome(limit=limit)
    wanted = {cell: key for cell, key in batch.cells.items() if key in missing}
    with warnings.catch_warnings(record=True) as seen, use_device(config.device), strictly_one_thread:
        warnings.simplefilter("ignore")
        warnings.simplefilter("always", UserWarning)
        with outcome.guarding(wanted, timed=False):
            data = opened(batch.dataset)
            if batch.kind == "fit":
                _fit(config, batch, data, wanted, chosen, outcome)
            else:
                for cell, key in wanted.items():
                    with outcome.guarding([cell]):
                        outcome.rows.append(_alone(config, batch, data, cell, key, chosen))
    outcome.notes += sorted({f"{batch}: warning: {warning.message}" for warning in seen})
    return outcome


def _alone(
    config: StudyConfig, batch: CellBatch, data: Dataset, cell: Cell, key: str, chosen: Mapping[Labelling, TunedRecipe]
) -> Row:
    """Return the row of a control, a choice of options, an experiment, or a training run."""
    start = time.process_time()
    if batch.kind == "control":
        from embrm.study.measures.fit import control

        return _timed(control(config, data, cell, key), start)
    if batch.kind == "tuning":
        return _timed(_tune(config, batch, data, cell, key), start)
    if batch.experiment is not None:
        from embrm.study.measures.experiment import experiment

        return _timed(experiment(config, batch.experiment, data, cell, key), start)
    from embrm.study.measures.rl import rl

    ((model, training),) = _fitted(config, _recipe(batch, cell, chosen), [cell], data)
    return _timed(rl(config, data, model, cell, key, training=training), start)


def _tune(config: StudyConfig, batch: CellBatch, data: Dataset, cell: Cell, key: str) -> Row:
    from embrm.training.tuning import tune

    assert batch.head is not None
    recipe = Head.of({"name": batch.head.name, "options": batch.head.options})
    pairs = _training(config, data, cell)
    start = time.process_time()
    found = tune(recipe, pairs, budget=config.tuning.budget, seed=tuning_seed(config))
    fitting = time.process_time() - start
    notes = found.as_dict()
    for trial in notes["trials"]:
        del trial["seconds"]  # all else is the same in every run
    best = min(found.trials, key=lambda trial: trial.nll)
    numbers = {name: getattr(best, name) for name in ("nll", "accuracy", "temperature")}
    return Row(cell, key, numbers, notes=notes, seconds={"fit": fitting})


def _recipe(batch: CellBatch, cell: Cell, chosen: Mapping[Labelling, TunedRecipe]) -> dict[str, Any]:
    assert batch.head is not None
    as_given = {"name": batch.head.name, "options": batch.head.options}
    recipe: dict[str, Any] = chosen[cell.labelling]["recipe"] if batch.tuning else as_given
    return recipe


def _fit(
    config: StudyConfig,
    batch: CellBatch,
    data: Dataset,
    wanted: Mapping[Cell, str],
    chosen: Mapping[Labelling, TunedRecipe],
    outcome: CellOutcome,
) -> None:
    """Fit the cells that share their options together, all of them, and measure those that are wanted."""
    from embrm.study.measures.fit import FitCell, measure

    assert batch.head is not None
    alike: dict[str, list[Cell]] = defaultdict(list)
    for cell in batch.cells if not batch.tuning else (c for c in batch.cells if c.labelling in chosen):
        alike[fingerprint(_recipe(batch, cell, chosen))].append(cell)
    for cells in alike.values():
        if not wanted.keys() & set(cells):
            continue
        recipe = _recipe(batch, cells[0], chosen)
        begin = time.process_time()
        fitted = _each(config, recipe, cells, data, wanted, outcome)
        fitting = (time.process_time() - begin) / len(cells)
        for cell, (model, training) in fitted.items():
            if cell in wanted:
                start = time.process_time()
                with outcome.guarding([cell]):
                    row = measure(
                        config,
                        data,
                        model,
                        FitCell(batch.head, cell, wanted[cell]),
                        training=training,
                        temperature=chosen[cell.labelling]["temperature"] if batch.tuning else 1.0,
                        seconds={"fit": fitting},
                    )
                    outcome.rows.append(_timed(row, start))


def _each(
    config: StudyConfig,
    recipe: Mapping[str, Any],
    cells: Sequence[Cell],
    data: Dataset,
    wanted: Collection[Cell],
    outcome: CellOutcome,
) -> dict[Cell, tuple[FittedHead, Pairs]]:
    """Fit cells together, or where that fails those that are wanted, each alone."""
    if len(cells) > 1:
        try:
            with limited(outcome.limit and outcome.limit * len(cells)):
                return dict(zip(cells, _fitted(config, recipe, cells, data), strict=True))
        except (Exception, SystemExit) as error:
            outcome.notes.append(f"{cells[0]} and {len(cells) - 1} more: fitted one by one, because together: {error}")
    fitted = {}
    for cell in (cell for cell in cells if cell in wanted):
        with outcome.guarding([cell]):
            fitted[cell] = _fitted(config, recipe, [cell], data)[0]
    return fitted


def _fitted(
    config: StudyConfig, recipe: Mapping[str, Any], cells: Sequence[Cell], data: Dataset
) -> list[tuple[FittedHead, Pairs]]:
    training = [_training(config, data, cell) for cell in cells]
    problems = [Problem(pairs, cell.seed) for pairs, cell in zip(training, cells, strict=True)]
    return list(zip(Head.of(recipe).fit_many(problems), training, strict=True))


def _training(config: StudyConfig, data: Dataset, cell: Cell) -> Pairs:
    mechanism = config.mechanism(cell.mechanism)
    return data.train(mechanism=mechanism, flips=cell.flips, pairs=cell.pairs, seed=cell.seed)


def _timed(row: Row, start: float) -> Row:
    """Add the time since `start`, less the fit's where it is part of that, as the row's own work."""
    inside = row.seconds.get("fit", 0.0) if row.cell.kind != "fit" else 0.0
    return replace(row, seconds={**row.seconds, "measure": time.process_time() - start - inside})
