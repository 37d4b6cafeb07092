"""One rated response a row."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from embrm.core.files import Rows
from embrm.core.registry import register
from embrm.data.faults import Faults, RowRules
from embrm.data.layouts._groups import grouped
from embrm.data.layouts._layout import Columns, Row, RowLayout, asking, needed, with_prompt
from embrm.data.layouts._ratings import as_rating, chosen_rating, rating_columns
from embrm.errors import DataError


@register
@dataclass(frozen=True)
class RatedRows(RowLayout):
    """One response a row with its ratings (HelpSteer), or a completion with a label (TRL's unpaired preferences).

    Rows of one prompt, and of one annotator where rows name one, make a pool, whose responses are compared by the
    rating; where there are several, choose: `--columns rating=helpfulness`. Where texts alone are wanted, as by `score`
    and `embed`, each row stays a text of its own.
    """

    kinds = ("texts", "pools", "pairs")
    gathers = ("pools", "pairs")
    example = (
        {"prompt": "How?", "response": "So.", "helpfulness": 4},
        {"prompt": "How?", "response": "No.", "helpfulness": 1},
    )

    def fits(self, columns: Columns) -> bool:
        """See `RowLayout`."""
        one = len(columns.any("response", "completion")) == 1
        pairs = columns.has("rejected_response") or columns.has("chosen", "rejected")
        return one and not pairs and bool(rating_columns(columns))

    def turn(self, rows: Rows, faults: Faults, rules: RowRules) -> Iterator[tuple[int, Row]]:
        """See `RowLayout`."""
        columns = Columns.of(rows)
        ask, name = asking(columns), columns.any("response", "completion")[0]
        for i, row in enumerate(rows.values):
            kept = {k: v for k, v in row.items() if k != name}
            yield i, with_prompt({**kept, "response": row.get(name)}, ask(row))

    def judged(self, rows: Rows, faults: Faults, rules: RowRules) -> Iterator[tuple[int, Row]]:
        """Yield a pool of each prompt, with the number of its first row; see `RowLayout.turn`."""
        columns = Columns.of(rows)
        rating = chosen_rating(rating_columns(columns), rules.columns.get("rating"))
        good: list[tuple[int, Row]] = []
        for i, row in self.turn(rows, faults, rules):
            try:
                needed(row, "response")
                good.append((i, {**row, "rating": as_rating(row.get(rating), rating)}))
            except DataError as error:
                faults.add(i, error)
        who = ["annotator"] if columns.has("annotator") else []
        for group in grouped(good, by=["prompt", *who]):
            first = group[0][1]
            kept = {k: first[k] for k in ("prompt", "id", "class", *who) if k in first}
            pool = {"responses": [r["response"] for _, r in group], "ratings": [r["rating"] for _, r in group]}
            yield group[0][0], {**kept, **pool}
