"""Prompts with rated completions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from embrm.core.registry import register
from embrm.data.chat import short
from embrm.data.faults import RowRules
from embrm.data.layouts._layout import ASKS, Columns, Row, RowLayout, asking, needed, with_prompt
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
        return columns.objects("completions", "response", "text") and bool(columns.any("prompt", *ASKS))

    def reader(self, columns: Columns, rules: RowRules) -> Callable[[Row], Row]:
        """See `RowLayout`."""
        ask = asking(columns)
        all_of = [c for row in columns.first for c in row.get("completions") or [] if isinstance(c, Mapping)]
        names = list(dict.fromkeys(name for completion in all_of for name in ratings_of(completion)))
        rating = chosen_rating(names, rules.columns.get("rating"))

        def turn(row: Row) -> Row:
            completions = needed(row, "completions")
            if not isinstance(completions, list) or not all(isinstance(c, Mapping) for c in completions):
                raise DataError(f"completions must be a list of objects, got {short(completions)}")
            pool = {
                "responses": [needed(c, "response" if "response" in c else "text") for c in completions],
                "ratings": [as_rating(ratings_of(c).get(rating), f"completions' {rating}") for c in completions],
            }
            if all("model" in c for c in completions):
                pool["policy"] = [c["model"] for c in completions]
            kept = {k: v for k, v in row.items() if k not in ("completions", "models")}
            return with_prompt({**kept, **pool}, ask(row))

        return turn
