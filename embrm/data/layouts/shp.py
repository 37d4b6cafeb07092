"""Pairs of the Stanford Human Preferences."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from embrm.core.registry import register
from embrm.data.faults import RowRules
from embrm.data.layouts._layout import Columns, Row, RowLayout, needed, whole_number, with_prompt
from embrm.errors import DataError


@register
@dataclass(frozen=True)
class ShpPairs(RowLayout):
    """A post in history, two comments in human_ref_A and human_ref_B, and labels, 1 where A is preferred (SHP).

    The ratio of the comments' scores can be the margin: `--columns margin=score_ratio`.
    """

    kinds = ("pairs",)
    example = ({"history": "How?", "human_ref_A": "So.", "human_ref_B": "No.", "labels": 1},)

    def fits(self, columns: Columns) -> bool:
        """See `RowLayout`."""
        return columns.has("human_ref_A", "human_ref_B", "labels")

    def reader(self, columns: Columns, rules: RowRules) -> Callable[[Row], Row]:
        """See `RowLayout`."""

        def turn(row: Row) -> Row:
            label = whole_number(needed(row, "labels"), "labels")
            if label not in (0, 1):
                raise DataError(f"labels must be 1 where A is preferred and 0 where B is, got {label}")
            pair = [needed(row, f"human_ref_{letter}") for letter in ("AB" if label else "BA")]
            prompt = row.get("prompt", row.get("history"))
            kept = {k: v for k, v in row.items() if k not in ("history", "human_ref_A", "human_ref_B", "labels")}
            return with_prompt({**kept, "chosen": pair[0], "rejected": pair[1]}, prompt)

        return turn
