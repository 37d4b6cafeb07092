"""Columns of rows that are no texts: numbers of pairs, who judged them, and the gold rewards of pools."""

from __future__ import annotations

import numpy as np

from embrm.core.arrays import Array
from embrm.core.files import Rows
from embrm.data.chat import short
from embrm.data.layouts._layout import is_missing
from embrm.data.numbers import number, number_or
from embrm.errors import DataError


def numbers(rows: Rows, column: str, *, default: float) -> Array | None:
    """Return a column of numbers (or of true and false) `(rows,)`, or None where no row has it.

    Raises:
        DataError: an entry is no finite number.
    """
    if all(is_missing(row.get(column)) for row in rows.values):
        return None
    values = [number_or(v.get(column), f"{rows.where(i)}: {column}", default) for i, v in enumerate(rows.values)]
    return np.array(values, dtype=np.float64)


def annotators(rows: Rows) -> list[str]:
    """Return who judged each pair, "" where that is not told.

    Raises:
        DataError: an entry is neither a text nor a whole number.
    """
    names = []
    for i, row in enumerate(rows.values):
        value = row.get("annotator")
        value = "" if is_missing(value) else value
        if isinstance(value, float) and value.is_integer():  # as tables write whole numbers among missing ones
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, str | int):
            raise DataError(
                f"{rows.where(i)}: annotator must be a name or a whole number, got {short(value)}; "
                "--columns annotator= leaves the column out"
            )
        names.append(str(value))
    return names


def gold(rows: Rows) -> Array | None:
    """Return the gold rewards of all responses of the pools, `(m,)`, or None where no row has them.

    Raises:
        DataError: only some rows have them, or an entry is no finite number.
    """
    missing = [i for i, row in enumerate(rows.values) if row.get("gold") is None]
    if len(missing) == len(rows):
        return None
    if missing:
        raise DataError(
            f"{rows.where(missing[0])} has no 'gold', but other pools have; give it to all of them or to none"
        )
    return np.array([number(v, f"{rows.where(i)}: gold") for i, row in enumerate(rows.values) for v in row["gold"]])
