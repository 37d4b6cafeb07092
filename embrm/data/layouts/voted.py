"""Two responses and the votes of several annotators."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from embrm.core.files import Rows
from embrm.core.registry import register
from embrm.data.chat import short
from embrm.data.faults import Faults, RowRules
from embrm.data.layouts._layout import Columns, Row, RowLayout, is_missing, needed
from embrm.data.layouts._two import paired, told, two_columns
from embrm.data.layouts.signed import SIGNED
from embrm.data.layouts.two_responses import ARENA, LABELS
from embrm.data.numbers import number
from embrm.errors import DataError

LISTS = ("votes", "annotations", "individual_preference", "annotators", "preferences")
WHO = ("annotator", "annotator_id", "worker", "judge", "rater")
_numbered = re.compile(r"(annotator|vote|judge|rater)_?\w")


@register
@dataclass(frozen=True)
class VotedPairs(RowLayout):
    """Two responses and a vote of each of several annotators, which all become pairs, with who judged in `annotator`.

    Votes are in columns such as annotator1, annotator2 (PandaLM), or in one column votes, annotations or
    individual_preference (HelpSteer3), which lists them or names their annotators. A vote is the number, letter or
    column of the better response, 0 or "tie", or an object that holds such, or a score whose sign says it. Where the
    majority's choice stands beside them, it is taken unless it is left out: `--columns overall_preference=`.
    """

    kinds = ("pairs",)
    example = ({"question": "How?", "response1": "So.", "response2": "No.", "annotator1": 1, "annotator2": 2},)

    def fits(self, columns: Columns) -> bool:
        """See `RowLayout`."""
        settled = columns.any(*LABELS, *SIGNED, *ARENA)
        return two_columns(columns) is not None and bool(vote_columns(columns)) and not settled

    def turn(self, rows: Rows, faults: Faults, rules: RowRules) -> Iterator[tuple[int, Row]]:
        """See `RowLayout`."""
        columns = Columns.of(rows)
        names, found = two_columns(columns) or ("", ""), vote_columns(columns)
        lists = [name for name in found if name in LISTS]
        if lists and len(found) > 1:
            raise DataError(f"votes are in {' and '.join(found)}; leave one: --columns {found[1]}=")
        for i, row in enumerate(rows.values):
            try:
                votes = _votes(needed(row, lists[0])) if lists else {name: row.get(name) for name in found}
                given = {who: vote for who, vote in votes.items() if not is_missing(vote)}
                if not given:
                    raise DataError(f"nobody voted; found nothing in {', '.join(found)}")
                pairs = [_pair(row, columns, names, who, vote, drop=tuple(found)) for who, vote in given.items()]
            except DataError as error:
                faults.add(i, error)
                continue
            label = rows.label(i)
            yield from ((i, {**pair, "id": f"{label}/{pair['annotator']}"}) for pair in pairs)


def vote_columns(columns: Columns) -> list[str]:
    """Return the columns that hold votes: one list of them, or one column an annotator."""
    lists = [name for name in columns.any(*LISTS) if columns.are(name, (list, dict))]
    numbered = sorted(name for name in columns.names if _numbered.fullmatch(name) and name not in LISTS)
    return [*lists, *(numbered if len(numbered) > 1 else [])]


def _votes(value: Any) -> dict[str, Any]:
    """Return the vote of each annotator, by name or number."""
    if isinstance(value, Mapping):
        return {str(who): vote for who, vote in value.items()}
    if not isinstance(value, list):
        raise DataError(f"votes must be a list, or an object with annotators and their votes, got {short(value)}")
    out: dict[str, Any] = {}
    for i, vote in enumerate(value):
        named = next((str(vote[key]) for key in WHO if key in vote), None) if isinstance(vote, Mapping) else None
        who = named or str(i + 1)
        if who in out:
            raise DataError(f"annotator '{who}' votes twice; keep one vote")
        out[who] = vote
    return out


def _pair(row: Row, columns: Columns, names: tuple[str, str], who: str, vote: Any, *, drop: tuple[str, ...]) -> Row:
    better = _better(vote, names, who)
    pair = {**paired(row, columns, names, first=better != 1, drop=drop), "annotator": who}
    return pair if better is not None else {**pair, "tie": True}


def _better(vote: Any, names: tuple[str, str], who: str) -> int | None:
    """Return 0 or 1, or None for a tie."""
    if isinstance(vote, Mapping):
        label = next((vote[key] for key in LABELS if not is_missing(vote.get(key))), None)
        if label is not None:
            return told(label, names, f"the vote of {who}")
        sign = next((vote[key] for key in ("score", *SIGNED) if not is_missing(vote.get(key))), None)
        if sign is None:
            raise DataError(f"the vote of {who} must be a choice or a score, got {short(vote)}")
        value = number(sign, f"the score of {who}")
        return None if value == 0 else int(value > 0)
    if vote in (0, "0") and not isinstance(vote, bool) and not names[0].endswith("0"):
        return None
    return told(vote, names, f"the vote of {who}")
