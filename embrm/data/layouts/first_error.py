"""A prompt, its steps, and the number of the first that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from embrm.core.registry import register
from embrm.data.faults import RowRules
from embrm.data.layouts._layout import Columns, Row, RowLayout, needed, whole_number
from embrm.data.layouts._stepped import PROBLEMS, asked, steps_of, up_to


@register
@dataclass(frozen=True)
class FirstError(RowLayout):
    """A prompt or problem, its `steps`, and in `label` the number of the first wrong one from 0, or -1 (ProcessBench).

    What follows the first error has no label.
    """

    kinds = ("traces",)
    example = ({"id": "a", "problem": "How?", "steps": ["Open it.", "Pull the cord.", "Close it."], "label": 1},)

    def fits(self, columns: Columns) -> bool:
        """See `RowLayout`."""
        return columns.has("steps", "label") and bool(columns.any("prompt", *PROBLEMS))

    def reader(self, columns: Columns, rules: RowRules) -> Callable[[Row], Row]:
        """See `RowLayout`."""
        ask = asked(columns)

        def turn(row: Row) -> Row:
            steps = steps_of(needed(row, "steps"), "steps")
            return {**row, **ask(row), "labels": up_to(whole_number(needed(row, "label"), "label"), steps)}

        return turn
