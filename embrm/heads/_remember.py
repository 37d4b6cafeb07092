"""What a head was fitted on is remembered by the model: for every head, whoever wrote it, in one place."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from typing import Any, TypeAlias

from embrm.core.data import Problem
from embrm.core.seen import TrainingTexts
from embrm.core.traces import StepPairs
from embrm.core.views import under_principle
from embrm.errors import DataError
from embrm.heads._principle import principles_in

_FitMany: TypeAlias = Callable[[Any, Sequence[Problem]], list[Any]]  # of a head, whose module imports this one
_inside: ContextVar[bool] = ContextVar("inside a fit", default=False)


def remembering(fit_many: _FitMany) -> _FitMany:
    """Return a `fit_many` whose models know what they were trained on; those inside them need not."""

    @functools.wraps(fit_many)
    def wrapped(head: Any, problems: Sequence[Problem]) -> list[Any]:
        _check_steps(head, problems)
        if _inside.get():
            return fit_many(head, problems)
        reads_principle = {under_principle(view) for view in head.reads} != {None}  # of all, so that each is checked
        token = _inside.set(True)
        try:
            models = fit_many(head, problems)
        finally:
            _inside.reset(token)
        pairs = zip(models, (_known(problem, reads_principle) for problem in problems), strict=True)
        return [dataclasses.replace(model, **known) if known else model for model, known in pairs]

    return wrapped


def _check_steps(head: Any, problems: Sequence[Problem]) -> None:
    """Refuse labelled steps that a head would take for preferences, and preferences that it would take for labels."""
    given = {isinstance(problem.pairs, StepPairs) for problem in problems}
    if True in given and not head.learns_steps:
        raise DataError(
            f"these are labelled steps, and '{type(head).__name__.lower()}' learns from preferences; labelled steps "
            "are for linear, mlp and inform with loss='step'"
        )
    if False in given and head.learns_steps:
        raise DataError(
            "loss 'step' learns from labelled steps, and these are preference pairs; give StepTraces(…).pairs(), or "
            "leave the loss out"
        )


def _known(problem: Problem, reads_principle: bool) -> dict[str, Any]:
    """Return what the model of a problem remembers of it: its texts, and the principles where the head reads them."""
    found = {"seen": seen_in(problem), "principles": principles_in(problem) if reads_principle else None}
    return {name: value for name, value in found.items() if value is not None}


def seen_in(problem: Problem) -> TrainingTexts | None:
    """Return the texts of a problem's pairs and pools; None where the texts behind the vectors are not known."""
    parts = []
    if problem.pairs.features.hashes is not None:
        parts.append(problem.pairs.features.hashes.take(problem.pairs.rows))
    if problem.pools is not None and problem.pools.features.hashes is not None:
        parts.append(problem.pools.features.hashes)
    seen = [TrainingTexts.of(part) for part in parts]
    return functools.reduce(TrainingTexts.__or__, seen) if seen else None
