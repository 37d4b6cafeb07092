"""A question with alternatives of each step, rated up to the first error."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from embrm.core.registry import register
from embrm.data.chat import short
from embrm.data.faults import RowRules
from embrm.data.layouts._layout import Columns, Row, RowLayout, is_missing, needed, whole_number
from embrm.data.layouts._stepped import steps_of
from embrm.errors import DataError


@register
@dataclass(frozen=True)
class RatedSteps(RowLayout):
    """A `question` with its problem, and in `label` the steps, each with completions rated 1, 0 or -1 (PRM800K).

    Of each step the chosen completion is taken, that of a person where no other was chosen, else the first. A rating
    below 0 is an error; 0 (neutral) counts as right, as in the paper.
    """

    kinds = ("traces",)
    example = (
        {
            "question": {"problem": "How?"},
            "label": {"steps": [{"completions": [{"text": "Open it.", "rating": 1}], "chosen_completion": 0}]},
        },
    )

    def fits(self, columns: Columns) -> bool:
        """See `RowLayout`."""
        return columns.are("question", Mapping) and columns.are("label", Mapping)

    def reader(self, columns: Columns, rules: RowRules) -> Callable[[Row], Row]:
        """See `RowLayout`."""

        def turn(row: Row) -> Row:
            steps = needed(needed(row, "label"), "steps")
            if not isinstance(steps, list) or not all(isinstance(step, Mapping) for step in steps):
                raise DataError(f"the label's steps must be a list of objects, got {short(steps)}")
            taken = [_taken(step) for step in steps]
            texts = steps_of([needed(step, "text") for step in taken], "the label's steps")
            labels = [_label(step.get("rating")) for step in taken]
            return {"id": row.get("id"), "prompt": needed(row["question"], "problem"), "steps": texts, "labels": labels}

        return turn


def _taken(step: Mapping[str, Any]) -> Mapping[str, Any]:
    completions, chosen = step.get("completions"), step.get("chosen_completion")
    if chosen is None and isinstance(step.get("human_completion"), Mapping):
        return {"rating": 1, **step["human_completion"]}
    place = 0 if chosen is None else whole_number(chosen, "chosen_completion")
    if not isinstance(completions, list) or not 0 <= place < len(completions):
        raise DataError(f"a step has no completion number {place}, got {short(completions)}")
    if not isinstance(completions[place], Mapping):
        raise DataError(f"a completion must be an object with text and rating, got {short(completions[place])}")
    return {str(name): value for name, value in completions[place].items()}


def _label(rating: Any) -> int | None:
    return None if is_missing(rating) else int(whole_number(rating, "rating") >= 0)
