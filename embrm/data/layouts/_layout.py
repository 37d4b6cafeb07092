"""What every layout is, and what their sniffers ask of a file."""

from __future__ import annotations

import difflib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from embrm.core.files import Rows
from embrm.data.chat import short
from embrm.data.faults import Faults, RowRules
from embrm.errors import DataError

Row = dict[str, Any]

ASKS = ("question", "instruction", "query", "input")  # what a prompt is called where it is not called prompt
FIRST = 50  # rows whose types a sniffer sees


@dataclass(frozen=True, eq=False)
class Columns:
    """What a sniffer sees: the columns of all rows, and the values of the first.

    Attributes:
        names: of the columns, those that are null in every row left out.
        first: the first rows.
    """

    names: frozenset[str]
    first: Sequence[Row]

    @classmethod
    def of(cls, rows: Rows) -> Columns:
        """Look at the rows of a file."""
        found = {name for row in rows.values for name, value in row.items() if value is not None}
        return cls(frozenset(found), rows.values[:FIRST])

    def has(self, *names: str) -> bool:
        """Say whether all these columns are there."""
        return self.names.issuperset(names)

    def any(self, *names: str) -> list[str]:
        """Return those of these columns that are there, in the given order."""
        return [name for name in names if name in self.names]

    def are(self, name: str, kind: type | tuple[type, ...]) -> bool:
        """Say whether the first value of a column that is not null is of a type."""
        value = next((row[name] for row in self.first if not is_missing(row.get(name))), None)
        return isinstance(value, kind)

    def objects(self, name: str, *keys: str) -> bool:
        """Say whether a column has lists of objects, and the first of them has one of these keys."""
        value = next((row[name] for row in self.first if row.get(name)), None)
        return isinstance(value, list) and isinstance(value[0], Mapping) and any(key in value[0] for key in keys)


@dataclass(frozen=True)
class RowLayout(ABC):
    """One way of writing down preferences, pools or texts.

    Attributes:
        kinds: what its rows can become, "pairs", "pools", "texts" or "traces"; the first where nobody asks for one of
            them.
        example: rows of this layout.
        gathers: the kinds that are brought together out of several rows, so that all rows must be known.
    """

    kinds: ClassVar[tuple[str, ...]]
    gathers: ClassVar[tuple[str, ...]] = ()
    example: ClassVar[tuple[Row, ...]]

    @abstractmethod
    def fits(self, columns: Columns) -> bool:
        """Say whether a file is of this layout."""

    def turn(self, rows: Rows, faults: Faults, rules: RowRules) -> Iterator[tuple[int, Row]]:
        """Yield rows of the common form, each with the number of the row that it came from, counted from 0.

        The common form is a pair `{prompt?, chosen, rejected, weight?, margin?, tie?, annotator?}`, a pool `{prompt,
        responses[], gold[]?, policy[]?, ratings[]?, ranking?}`, a text `{prompt?, response}`, or a trace `{prompt,
        steps[], labels[]}` whose labels are 1, 0 or None, with further columns.

        Raises:
            DataError: the file as a whole cannot be read in this layout; single rows go to `faults`.
        """
        turn = self.reader(Columns.of(rows), rules)
        for i, row in enumerate(rows.values):
            try:
                found = turn(row)
            except DataError as error:
                faults.add(i, error)
                continue
            yield i, found

    def judged(self, rows: Rows, faults: Faults, rules: RowRules) -> Iterator[tuple[int, Row]]:
        """Do as `turn`, for readers of pairs and pools, where a layout also has rows that are texts."""
        return self.turn(rows, faults, rules)

    def reader(self, columns: Columns, rules: RowRules) -> Callable[[Row], Row]:
        """Return what turns one row into one of the common form, for layouts that look at each row by itself."""
        return dict


def is_missing(value: Any) -> bool:
    """Say whether a cell is empty: null, or the NaN that pandas writes for it."""
    return value is None or (isinstance(value, float) and value != value)


def asking(columns: Columns) -> Callable[[Row], Any]:
    """Return what finds the prompt of a row: `prompt`, or one other column, or Alpaca's instruction and input joined.

    Raises:
        DataError: several columns can be the prompt.
    """
    if columns.has("prompt"):
        return lambda row: row.get("prompt")
    found = columns.any(*ASKS)
    if set(found) == {"instruction", "input"}:
        return lambda row: "\n".join(part for part in (row.get("instruction"), row.get("input")) if part)
    if len(found) > 1:
        raise DataError(
            f"the prompt can be in {' or '.join(found)}; say which: "
            f"{' or '.join(f'--columns prompt={name}' for name in found)}"
        )
    return lambda row: row.get(found[0]) if found else None


def with_prompt(row: Mapping[str, Any], prompt: Any) -> Row:
    """Return a row with its prompt in `prompt`, and in no other column."""
    kept = {name: value for name, value in row.items() if name not in ("prompt", *ASKS)}
    return {"prompt": prompt, **kept}


def needed(row: Mapping[str, Any], column: str) -> Any:
    """Return what a row has in a column.

    Raises:
        DataError: it has nothing there.
    """
    value = row.get(column)
    if is_missing(value):
        raise DataError(f"has no '{column}'; {found_columns(row, column)}")
    return value


def whole_number(value: Any, name: str) -> int:
    """Return a whole number, also one that is written as a float or as text.

    Raises:
        DataError: it is none.
    """
    try:
        number = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not number.is_integer():
        raise DataError(f"{name} must be a whole number, got {short(value)}")
    return int(number)


def found_columns(found: Iterable[str], *wanted: str) -> str:
    """Say which columns there are, and which of them look like misspelt wanted ones."""
    columns = sorted(found)
    near = {w: difflib.get_close_matches(w, columns, n=1, cutoff=0.7) for w in wanted}
    hints = [f"rename '{match[0]}' to '{w}'" for w, match in near.items() if match and match[0] != w]
    return f"found: {', '.join(columns) or 'none'}" + (f". Did you misspell it? {'; '.join(hints)}" if hints else "")
