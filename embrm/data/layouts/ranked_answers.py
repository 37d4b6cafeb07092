"""Prompts with ranked answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from embrm.core.registry import register
from embrm.data.chat import short
from embrm.data.faults import RowRules
from embrm.data.layouts._layout import Columns, Row, RowLayout, asking, is_missing, needed, said_of, with_prompt
from embrm.data.numbers import number
from embrm.errors import DataError


@register
@dataclass(frozen=True)
class RankedAnswers(RowLayout):
    """A prompt with answers, each an object with its text and rank, the lowest the best; equal ranks are ties.

    Nectar has such answers, NeMo's completions with a context are such too.
    """

    kinds = ("pools", "pairs")
    example = (
        {
            "prompt": "How?",
            "answers": [
                {"answer": "So.", "model": "m", "rank": 1},
                {"answer": "No.", "model": "n", "rank": 2},
            ],
        },
    )

    def fits(self, columns: Columns) -> bool:
        """See `RowLayout`."""
        found = columns.objects()
        return found is not None and "rank" in found[1] and columns.asked

    def reader(self, columns: Columns, rules: RowRules) -> Callable[[Row], Row]:
        """See `RowLayout`."""
        ask, (name, _) = asking(columns), columns.objects() or ("answers", {})

        def turn(row: Row) -> Row:
            answers = needed(row, name)
            if not isinstance(answers, list) or not all(isinstance(a, Mapping) for a in answers):
                raise DataError(f"{name} must be a list of objects with answer and rank, got {short(answers)}")
            pool = {
                "responses": [said_of(a) for a in answers],
                "ratings": [None if is_missing(a.get("rank")) else -number(a["rank"], "rank") for a in answers],
            }
            if all("model" in a for a in answers):
                pool["policy"] = [a["model"] for a in answers]
            return with_prompt({**{k: v for k, v in row.items() if k != name}, **pool}, ask(row))

        return turn
