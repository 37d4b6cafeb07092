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
TALKS = ("conversations", "conversation", "messages", "context", "history")  # where there is none of these
OBJECTS = ("completions", "answers", "responses", "candidates", "generations", "outputs")  # of one prompt
SAID = ("response", "answer", "text", "completion", "content", "output", "generation")  # what they call their text
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

    def objects(self) -> tuple[str, Mapping[str, Any]] | None:
        """Return the column that lists a prompt's responses as objects, and the first of these, or None."""
        for name in OBJECTS:
            value = next((row[name] for row in self.first if row.get(name)), None)
            first = value[0] if isinstance(value, list) else None
            if isinstance(first, Mapping) and "role" not in first and any(key in first for key in SAID):
                return name, first
        return None

    @property
    def asked(self) -> bool:
        """Say whether a column holds prompts; see `asking`."""
        return bool(self.any("prompt", *ASKS, *TALKS))


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

    A list in `history`, of turns or of `[query, response]`, is what went before.

    Raises:
        DataError: several columns can be the prompt.
    """
    if columns.has("history") and columns.any("prompt", *ASKS) and columns.are("history", list):
        plain = asking(Columns(columns.names - {"history"}, columns.first))
        return lambda row: with_history(plain(row), row.get("history"))
    if columns.has("prompt"):
        return lambda row: row.get("prompt")
    found = columns.any(*ASKS) or columns.any(*TALKS)
    if set(found) == {"instruction", "input"}:
        return lambda row: "\n".join(part for part in (row.get("instruction"), row.get("input")) if part)
    if len(found) > 1:
        raise DataError(
            f"the prompt can be in {' or '.join(found)}; say which: "
            f"{' or '.join(f'--columns prompt={name}' for name in found)}"
        )
    return lambda row: row.get(found[0]) if found else None


def with_history(prompt: Any, history: Any) -> Any:
    """Return a prompt after the turns before it.

    Raises:
        DataError: they are neither messages nor `[query, response]`.
    """
    history = history or []
    pairs = isinstance(history, list) and all(isinstance(turn, list | tuple) and len(turn) == 2 for turn in history)
    if not pairs and not (isinstance(history, list) and all(isinstance(turn, Mapping) for turn in history)):
        raise DataError(f"history must be a list of [query, response] or of messages, got {short(history)}")
    if not history:
        return prompt
    said = [
        {"role": role, "content": text}
        for pair in (history if pairs else [])
        for role, text in zip(("user", "assistant"), pair, strict=True)
    ]
    last = prompt if isinstance(prompt, list) else [{"role": "user", "content": prompt}]
    return [*(said or history), *last]


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
        said = f"has nothing in '{column}'" if column in row else f"has no '{column}'; {found_columns(row, column)}"
        raise DataError(said)
    return value


def said_of(entry: Mapping[str, Any]) -> Any:
    """Return the text of a response that is an object, or its messages.

    Raises:
        DataError: it has none.
    """
    return needed(entry, next((name for name in SAID if name in entry), SAID[0]))


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
