"""Rows of traces: what the layouts of labelled steps share."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from embrm.data.chat import short
from embrm.data.layouts._layout import ASKS, Columns, Row, is_missing
from embrm.errors import DataError

PROBLEMS = ("problem", *ASKS)  # what the prompt of a trace is called where it is not called prompt


def asked(columns: Columns) -> Callable[[Row], Row]:
    """Return what takes the prompt of a row, `{"prompt": …}`.

    Raises:
        DataError: several columns can be the prompt.
    """
    found = columns.any("prompt", *PROBLEMS)
    if len(found) > 1:
        raise DataError(f"the prompt can be in {' or '.join(found)}; leave one: --columns {found[1]}=")
    return lambda row: {"prompt": row.get(found[0]) if found else None}


def steps_of(value: Any, name: str) -> list[str]:
    """Return the steps of a trace.

    Raises:
        DataError: they are no list of texts, or one of them is empty.
    """
    if not isinstance(value, list) or not value or not all(isinstance(step, str) and step.strip() for step in value):
        raise DataError(f"{name} must be a list of at least one text, none of them empty, got {short(value)}")
    return value


def label_of(value: Any, name: str) -> int | None:
    """Return 1 of a right step, 0 of a wrong one, None where nobody said.

    Raises:
        DataError: it is neither.
    """
    if is_missing(value):
        return None
    if value not in (0, 1) or isinstance(value, str):
        raise DataError(f"{name} must be true, false or null for each step, got {short(value)}")
    return int(value)


def up_to(error: int, steps: Sequence[str]) -> list[int | None]:
    """Return labels of steps whose first wrong one is known, or -1 for none: right, wrong, and then nobody said.

    Raises:
        DataError: there is no such step.
    """
    if not -1 <= error < len(steps):
        raise DataError(
            f"the first wrong step must be a number from 0 to {len(steps) - 1}, or -1 for none, got {error}"
        )
    if error < 0:
        return [1] * len(steps)
    return [*([1] * error), 0, *([None] * (len(steps) - error - 1))]
