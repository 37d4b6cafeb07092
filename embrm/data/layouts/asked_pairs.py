"""Preference pairs whose prompt has another name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from embrm.core.registry import register
from embrm.data.faults import RowRules
from embrm.data.layouts._layout import ASKS, Columns, Row, RowLayout, asking, with_prompt


@register
@dataclass(frozen=True)
class AskedPairs(RowLayout):
    """Columns chosen and rejected beside a question, instruction (and Alpaca's input), query or input.

    Instruction and input together are joined by a line end; any other two of these columns are ambiguous.
    """

    kinds = ("pairs",)
    example = ({"question": "How?", "chosen": "So.", "rejected": "No."},)

    def fits(self, columns: Columns) -> bool:
        """See `RowLayout`."""
        return columns.has("chosen", "rejected") and not columns.has("prompt") and bool(columns.any(*ASKS))

    def reader(self, columns: Columns, rules: RowRules) -> Callable[[Row], Row]:
        """See `RowLayout`."""
        ask = asking(columns)
        return lambda row: with_prompt(row, ask(row))
