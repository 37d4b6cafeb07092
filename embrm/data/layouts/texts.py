"""Single texts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from embrm.core.registry import register
from embrm.data.faults import RowRules
from embrm.data.layouts._layout import Columns, Row, RowLayout, asking, with_prompt
from embrm.data.layouts._ratings import rating_columns


@register
@dataclass(frozen=True)
class SingleTexts(RowLayout):
    """One response a row, with its prompt where there is one (also called completion, as in TRL)."""

    kinds = ("texts",)
    example = ({"prompt": "How?", "response": "So."},)

    def fits(self, columns: Columns) -> bool:
        """See `RowLayout`."""
        one = len(columns.any("response", "completion")) == 1
        pairs = columns.has("rejected_response") or columns.has("chosen", "rejected")
        return one and not pairs and not rating_columns(columns)

    def reader(self, columns: Columns, rules: RowRules) -> Callable[[Row], Row]:
        """See `RowLayout`."""
        ask, name = asking(columns), columns.any("response", "completion")[0]

        def turn(row: Row) -> Row:
            kept = {k: v for k, v in row.items() if k != name}
            return with_prompt({**kept, "response": row.get(name)}, ask(row))

        return turn
