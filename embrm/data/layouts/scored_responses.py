"""Two responses and a score of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from embrm.core.registry import register
from embrm.data.faults import GAP, RowRules
from embrm.data.layouts._layout import Columns, Row, RowLayout, needed
from embrm.data.layouts._two import paired, score_columns, two_columns
from embrm.data.layouts.signed import SIGNED
from embrm.data.layouts.two_responses import ARENA, LABELS
from embrm.data.layouts.voted import vote_columns
from embrm.data.numbers import number


@register
@dataclass(frozen=True)
class ScoredResponses(RowLayout):
    """Two responses with a score each, such as answer_0, answer_1, score_0, score_1 (WebGPT): the higher is better.

    Equal scores are a tie; with `--columns margin=gap` their difference is the margin.
    """

    kinds = ("pairs",)
    example = ({"question": "How?", "answer_0": "No.", "answer_1": "So.", "score_0": -0.5, "score_1": 0.5},)

    def fits(self, columns: Columns) -> bool:
        """See `RowLayout`."""
        settled = columns.any(*LABELS, *SIGNED, *ARENA) or vote_columns(columns)
        return score_columns(columns) is not None and not settled

    def reader(self, columns: Columns, rules: RowRules) -> Callable[[Row], Row]:
        """See `RowLayout`."""
        names, scores = two_columns(columns) or ("", ""), score_columns(columns) or ("", "")

        def turn(row: Row) -> Row:
            first, second = (number(needed(row, name), name) for name in scores)
            pair = paired(row, columns, names, first=first >= second, drop=scores)
            if first == second:
                return {**pair, "tie": True}
            return {**pair, "margin": abs(first - second)} if rules.columns.get("margin") == GAP else pair

        return turn
