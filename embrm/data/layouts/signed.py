"""Two responses and a preference with a sign."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from embrm.core.registry import register
from embrm.data.faults import GAP, RowRules
from embrm.data.layouts._layout import Columns, Row, RowLayout, needed
from embrm.data.layouts._two import paired, two_columns
from embrm.data.numbers import number
from embrm.errors import DataError

SIGNED = ("overall_preference", "preference_strength", "signed_preference")


@register
@dataclass(frozen=True)
class SignedPreference(RowLayout):
    """Two responses and a number: below 0 the first is better, above 0 the second, 0 is a tie (HelpSteer2 and 3).

    The number is in overall_preference, preference_strength, or a preference that is below 0 somewhere; with
    `--columns margin=gap` its size is the margin.
    """

    kinds = ("pairs",)
    example = (
        {"context": [{"role": "user", "content": "How?"}], "response1": "So.", "response2": "No.",
         "overall_preference": -2},
    )  # fmt: skip

    def fits(self, columns: Columns) -> bool:
        """See `RowLayout`."""
        return two_columns(columns) is not None and bool(_signs(columns))

    def reader(self, columns: Columns, rules: RowRules) -> Callable[[Row], Row]:
        """See `RowLayout`."""
        names, found = two_columns(columns) or ("", ""), _signs(columns)
        if len(found) > 1:
            raise DataError(f"the preference is told by {' and '.join(found)}; leave one: --columns {found[1]}=")

        def turn(row: Row) -> Row:
            value = number(needed(row, found[0]), found[0])
            pair = paired(row, columns, names, first=value < 0, drop=(found[0],))
            if value == 0:
                return {**pair, "tie": True}
            return {**pair, "margin": abs(value)} if rules.columns.get("margin") == GAP else pair

        return turn


def _signs(columns: Columns) -> list[str]:
    below = any(isinstance(v := row.get("preference"), int | float) and v < 0 for row in columns.first)
    return columns.any(*SIGNED, *(["preference"] if below else []))
