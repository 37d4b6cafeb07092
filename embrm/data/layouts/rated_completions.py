"""Prompts with rated completions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from embrm.core.registry import register
from embrm.data.chat import short
from embrm.data.faults import RowRules
from embrm.data.layouts._layout import Columns, Row, RowLayout, asking, needed, said_of, with_prompt
from embrm.data.layouts._ratings import as_rating, chosen_rating, ratings_of
from embrm.errors import DataError


@register
@dataclass(frozen=True)
class RatedCompletions(RowLayout):
    """An instruction with completions, each an object with its response and ratings (UltraFeedback).

    Where completions have several ratings, choose: `--columns rating=overall_score`, or an aspect of the annotations,
    `rating=helpfulness`. A rating such as "N/A" leaves its completion out.
    """

    kinds = ("pools", "pairs")
    example = (
        {
            "instruction": "How?",
            "completions": [
                {"model": "m", "response": "So.", "annotations": {"helpfulness": {"Rating": "5"}}},
                {"model": "n", "response": "No.", "annotations": {"helpfulness": {"Rating": "2"}}},
            ],
        },
    )

    def fits(self, columns: Columns) -> bool:
        """See `RowLayout`."""
        found = columns.objects()
        return found is not None and "rank" not in found[1] and columns.asked

    def reader(self, columns: Columns, rules: RowRules) -> Callable[[Row], Row]:
        """See `RowLayout`."""
        ask, (column, _) = asking(columns), columns.objects() or ("completions", {})
        all_of = [c for row in columns.first for c in row.get(column) or [] if isinstance(c, Mapping)]
        names = list(dict.fromkeys(name for completion in all_of for name in ratings_of(completion)))
        rating = chosen_rating(names, rules.columns.get("rating"))

        def turn(row: Row) -> Row:
            completions = needed(row, column)
            if not isinstance(completions, list) or not all(isinstance(c, Mapping) for c in completions):
                raise DataError(f"{column} must be a list of objects, got {short(completions)}")
            pool = {
                "responses": [said_of(c) for c in completions],
                "ratings": [as_rating(ratings_of(c).get(rating), f"{column}' {rating}") for c in completions],
            }
            if all("model" in c for c in completions):
                pool["policy"] = [c["model"] for c in completions]
            kept = {k: v for k, v in row.items() if k not in (column, "models")}
            return with_prompt({**kept, **pool}, ask(row))

        return turn
