"""How rows are to be read, and what becomes of those that cannot be: stop and say all, or leave out and count."""

from __future__ import annotations

import re
import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from embrm.core.files import Rows, check_writable, write_rows
from embrm.core.provenance import Provenance
from embrm.data.convert import Which
from embrm.errors import DataError, OptionError

GAP = "gap"  # in columns, margin=gap: the gap of two ratings is the pair's margin


class ReadingWarning(UserWarning):
    """Something that a file says is not used: rows or pairs that were left out, or columns that nobody asked for."""


@dataclass(frozen=True)
class RowRules:
    """How rows are read.

    Attributes:
        columns: what this package calls a column → what the file calls it, such as `{"chosen": "winner"}`, or
            `{"prompt": "info.post"}` where it is a key of objects; "" leaves a column out. `margin` also takes a
            difference, `"score_chosen-score_rejected"`, or `"gap"`, that of ratings.
        layout: the name of a layout, `embrm data layouts`; None tells it from the columns.
        on_bad_row: "stop" raises and names all, "skip" leaves them out with a warning, "report=FILE" does the same and
            writes their places and reasons.
        keep_system: whether system turns stay in prompts; see `embrm.data.chat`. None does as the training texts of the
            model that reads the texts, see `like`, and leaves them out where there is none.
        compare: which rated responses of a prompt become pairs: "all", "best" (the best with each other), "adjacent".
        least_gap: ratings that differ by no more than this are a tie.

    Raises:
        OptionError: `on_bad_row` is none of these, or its file cannot be written.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    layout: str | None = None
    on_bad_row: str = "stop"
    keep_system: bool | None = None
    compare: Which = "all"
    least_gap: float = 0.0

    def __post_init__(self) -> None:
        if self.on_bad_row not in ("stop", "skip") and not re.fullmatch(r"report=.+", self.on_bad_row):
            raise OptionError(f"on_bad_row must be stop, skip or report=FILE, got '{self.on_bad_row}'")
        if self.report is not None:
            check_writable(self.report)

    @property
    def report(self) -> str | None:
        """The file for what was left out."""
        return self.on_bad_row.partition("=")[2] or None

    def like(self, made: Provenance) -> RowRules:
        """Return the rules with system turns as in the texts behind vectors, unless these rules say otherwise."""
        return replace(self, keep_system=made.keep_system) if self.keep_system is None else self

    @property
    def record(self) -> dict[str, object]:
        """What a model has to remember of it."""
        kept: dict[str, object] = {
            "columns": dict(self.columns),
            "keep_system": self.keep_system,
            "least_gap": self.least_gap,
        }
        kept["compare"] = "" if self.compare == "all" else self.compare
        return {name: value for name, value in kept.items() if value}


@dataclass
class Faults:
    """What is wrong with rows, collected until all of them were looked at.

    Attributes:
        rows: all rows, as they came from the file.
        found: number of the row, counted from 0, and what is wrong with it.
        notes: what was lost apart from whole rows: what it was, and how many.
    """

    rows: Rows
    found: dict[int, str] = field(default_factory=dict)
    notes: dict[str, int] = field(default_factory=dict)

    def add(self, i: int, reason: object) -> None:
        """Note the first fault of a row."""
        self.found.setdefault(i, str(reason))

    def lost(self, what: str, count: int = 1) -> None:
        """Count what was lost inside rows."""
        self.notes[what] = self.notes.get(what, 0) + count

    @property
    def count(self) -> int:
        """How many rows, unreadable lines among them, are left out."""
        return len(self.found) + len(self.rows.refused)

    def settle(self, rules: RowRules, *, kept: int) -> None:
        """Raise, or warn and write the report, by the rules; nothing happens where nothing is wrong.

        Args:
            rules: what is done with bad rows.
            kept: how many pairs, pools or texts came out.

        Raises:
            DataError: rows are bad and the rules stop there, or nothing came out.
        """
        for what, count in self.notes.items():
            warnings.warn(f"{self.rows.name}: {count} {what}", ReadingWarning, stacklevel=4)
        if not self.count and not kept:
            raise DataError(f"nothing comes out of {self.rows.name}: its {len(self.rows)} rows hold nothing to be used")
        if not self.count:
            return
        if rules.on_bad_row == "stop" or not kept:
            raise DataError(self.message())
        if rules.report is not None:
            places = {self.rows.where(i): reason for i, reason in self.found.items()}
            refused = [{"place": None, "reason": reason} for reason in self.rows.refused]
            write_rows(rules.report, [*refused, *({"place": p, "reason": r} for p, r in places.items())])
        total = len(self.rows) + len(self.rows.refused)
        warnings.warn(
            f"{self.count} of {total} rows of {self.rows.name} were left out: {self._reasons()}",
            ReadingWarning,
            stacklevel=4,
        )

    def message(self) -> str:
        """Return what is wrong, with the lines of each kind of fault."""
        way_out = "--on-bad-row skip leaves such rows out (on_bad_row='skip' in Python)"
        if self.count == 1:
            said = [placed(self.rows.where(i), reason) for i, reason in self.found.items()] or self.rows.refused
            return f"{said[0]}. {way_out}"
        total = len(self.rows) + len(self.rows.refused)
        return f"{self.count} of {total} rows of {self.rows.name} cannot be used: {self._reasons()}. {way_out}"

    def _reasons(self) -> str:
        kinds: dict[str, list[int]] = {}
        for i, reason in self.found.items():
            kinds.setdefault(re.split(r", got |: response", reason)[0], []).append(i)
        said = list(self.rows.refused[:3])
        for rows in list(kinds.values())[: 3 - len(said)]:
            first = placed(self.rows.where(rows[0]), self.found[rows[0]])
            others = [str(self.rows.numbers[i]) for i in rows[1:10]]
            more = (
                f" (likewise {self.rows.unit} {', '.join(others)}{', …' if len(rows) > 10 else ''})" if others else ""
            )
            said.append(f"{len(rows)} rows: {first}{more}" if others else first)
        rest = len(kinds) + len(self.rows.refused) - len(said)
        return "; ".join(said) + (f"; and {rest} other kinds of fault" if rest > 0 else "")


def placed(place: str, reason: str) -> str:
    """Return a reason after its place."""
    return f"{place} {reason}" if reason.startswith("has ") else f"{place}: {reason}"
