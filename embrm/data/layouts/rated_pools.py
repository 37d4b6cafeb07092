"""Pools with ratings or a ranking."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from embrm.core.registry import register
from embrm.data.chat import short
from embrm.data.faults import RowRules
from embrm.data.layouts._layout import Columns, Row, RowLayout, asking, needed, whole_number, with_prompt
from embrm.data.layouts._ratings import as_rating, judged_list
from embrm.errors import DataError


@register
@dataclass(frozen=True)
class RatedPools(RowLayout):
    """A prompt with responses and their ratings, or a ranking (numbers of responses from 0, the best first).

    This is what `embrm.data.trl_rows` takes; `annotator` says who judged. The responses may be called generations
    (distilabel), candidates or outputs, the ratings rating, scores or rewards.
    """

    kinds = ("pools", "pairs")
    example = ({"prompt": "How?", "responses": ["So.", "No."], "ratings": [4, 1], "annotator": "a"},)

    def fits(self, columns: Columns) -> bool:
        """See `RowLayout`."""
        return judged_list(columns) is not None and columns.asked and not columns.objects()

    def reader(self, columns: Columns, rules: RowRules) -> Callable[[Row], Row]:
        """See `RowLayout`."""
        ask, (responses_in, judged_in) = asking(columns), judged_list(columns) or ("responses", "ratings")

        def turn(row: Row) -> Row:
            responses, given = needed(row, responses_in), needed(row, judged_in)
            if not isinstance(responses, list) or not isinstance(given, list):
                raise DataError(f"responses and their judgements must be lists, got {short(given)}")
            if judged_in != "ranking":
                ratings = [as_rating(value, judged_in) for value in given]
            else:
                places = [whole_number(value, "ranking") for value in given]
                if len(set(places)) < len(places) or not set(places) <= set(range(len(responses))):
                    raise DataError(f"ranking must list different numbers from 0 to {len(responses) - 1}, got {given}")
                ratings = [-float(places.index(i)) if i in places else None for i in range(len(responses))]
            kept = {k: v for k, v in row.items() if k not in (responses_in, judged_in)}
            return with_prompt({**kept, "responses": responses, "ratings": ratings}, ask(row))

        return turn
