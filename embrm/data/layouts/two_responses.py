"""Two responses and the name or number of the better one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from embrm.core.registry import register
from embrm.data.faults import RowRules
from embrm.data.layouts._layout import Columns, Row, RowLayout, needed
from embrm.data.layouts._two import paired, told, two_columns
from embrm.errors import DataError

LABELS = (
    "better",
    "better_response_id",
    "safer_response_id",
    "winner",
    "preferred",
    "preferred_response",
    "preference",
    "choice",
    "label",
    "labels",
)
ARENA = ("winner_model_a", "winner_model_b", "winner_tie")


@register
@dataclass(frozen=True)
class TwoResponses(RowLayout):
    """Two responses (response_0 and response_1, output_1 and _2, answer_a and _b, …) and which of them is better.

    The better one is told by its number, its letter or its column (better_response_id, winner, preference, …; also
    "tie"), or by the arena's winner_model_a, winner_model_b, winner_tie. Where several columns could tell, choose:
    `--columns better=safer_response_id`.
    """

    kinds = ("pairs",)
    example = ({"prompt": "How?", "response_0": "No.", "response_1": "So.", "better_response_id": 1},)

    def fits(self, columns: Columns) -> bool:
        """See `RowLayout`."""
        told = columns.any(*LABELS) or columns.has(*ARENA[:2])
        return two_columns(columns) is not None and bool(told) and not _signed(columns)

    def reader(self, columns: Columns, rules: RowRules) -> Callable[[Row], Row]:
        """See `RowLayout`."""
        names = two_columns(columns) or ("", "")
        found = ["better"] if columns.has("better") else columns.any(*LABELS)
        if len(found) > 1:
            raise DataError(
                f"the better response is told by {' and '.join(found)}; choose: "
                f"{' or '.join(f'--columns better={name}' for name in found)}"
            )

        def turn(row: Row) -> Row:
            better = told(needed(row, found[0]), names, found[0]) if found else _arena(row)
            pair = paired(row, columns, names, first=better != 1, drop=(*found, *ARENA))
            return pair if better is not None else {**pair, "tie": True}

        return turn


def _signed(columns: Columns) -> bool:
    values = [row.get("preference") for row in columns.first]
    return any(isinstance(value, int | float) and value < 0 for value in values)


def _arena(row: Row) -> int | None:
    won = [i for i, name in enumerate(ARENA) if row.get(name)]
    if len(won) != 1:
        raise DataError(f"one of {', '.join(ARENA)} must be 1 and the others 0")
    return None if won[0] == 2 else won[0]
