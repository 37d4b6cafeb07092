"""A prompt, its steps, and a label of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from embrm.core.registry import register
from embrm.data.chat import short
from embrm.data.faults import RowRules
from embrm.data.layouts._layout import Columns, Row, RowLayout, needed
from embrm.data.layouts._stepped import PROBLEMS, asked, label_of, steps_of
from embrm.errors import DataError


@register
@dataclass(frozen=True)
class Stepwise(RowLayout):
    """A prompt, its steps in `completions`, and in `labels` whether each is right (TRL's stepwise supervision).

    A null says that nobody judged the step, as after the first error.
    """

    kinds = ("traces",)
    example = ({"prompt": "How?", "completions": ["Open it.", "Pull the cord."], "labels": [True, False]},)

    def fits(self, columns: Columns) -> bool:
        """See `RowLayout`."""
        value = next((row["completions"] for row in columns.first if row.get("completions")), None)
        texts = isinstance(value, list) and isinstance(value[0], str)
        return texts and columns.has("labels") and bool(columns.any("prompt", *PROBLEMS))

    def reader(self, columns: Columns, rules: RowRules) -> Callable[[Row], Row]:
        """See `RowLayout`."""
        ask = asked(columns)

        def turn(row: Row) -> Row:
            steps, labels = steps_of(needed(row, "completions"), "completions"), needed(row, "labels")
            if not isinstance(labels, list) or len(labels) != len(steps):
                raise DataError(f"labels must have one entry for each of the {len(steps)} steps, got {short(labels)}")
            return {**row, **ask(row), "steps": steps, "labels": [label_of(label, "labels") for label in labels]}

        return turn
