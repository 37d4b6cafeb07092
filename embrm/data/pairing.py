"""Judged pools → pairs, and what pairs carry beside their texts: weights, margins, ties."""

from __future__ import annotations

from embrm.data.chat import short
from embrm.data.convert import trl_rows
from embrm.data.faults import GAP, Faults, RowRules
from embrm.data.layouts._find import difference
from embrm.data.layouts._layout import Row
from embrm.data.numbers import number, number_or
from embrm.errors import DataError

NUMBERS = {"weight": 1.0, "margin": 0.0, "tie": 0.0}  # with what stands for a missing one
VERDICTS = ("chosen", "rejected", "tie")  # of one annotator


def compared(row: Row, rules: RowRules, faults: Faults) -> list[Row]:
    """Return a pair of each two rated responses of a pool; equal ratings are ties.

    Raises:
        DataError: there are not as many ratings as responses.
    """
    responses, ratings = row["responses"], row["ratings"]
    check_ratings(row)
    rated = [j for j, rating in enumerate(ratings) if rating is not None]
    if len(rated) < len(ratings):
        faults.lost("responses without a rating were left out", len(ratings) - len(rated))
    if len(rated) < 2:
        faults.lost("prompts with fewer than two rated responses give no pair")
    record = {
        "prompt": row.get("prompt"),
        "responses": [responses[j] for j in rated],
        "ratings": [ratings[j] for j in rated],
    }
    kept = {name: value for name, value in row.items() if name not in ("responses", "ratings", "policy", "id")}
    pairs = trl_rows(
        [record],
        ties="keep",
        which=rules.compare,
        least_gap=rules.least_gap,
        margins=rules.columns.get("margin") == GAP,
    )
    return [{**kept, **pair} for pair in pairs]


def by_verdict(row: Row) -> list[Row]:
    """Return a pair for each verdict of its annotators, weighted by how many of them gave it, or the pair alone.

    A column `annotators` with a list of "chosen", "rejected" and "tie" says what each of them found; the pair's own
    `tie`, which is the majority's, then counts no more.

    >>> [(p["chosen"], p["tie"], p["weight"]) for p in by_verdict(
    ...     {"chosen": "a", "rejected": "b", "annotators": ["chosen", "tie", "chosen"]})]
    [('a', False, 0.6666666666666666), ('a', True, 0.3333333333333333)]
    """
    found = row.get("annotators")
    if not (isinstance(found, list) and found and all(verdict in VERDICTS for verdict in found)):
        return [row]
    weight = number_or(row.get("weight"), "weight", 1.0) or 0.0
    sides = {"chosen": row.get("chosen"), "rejected": row.get("rejected")}
    turned = {"chosen": row.get("rejected"), "rejected": row.get("chosen")}
    return [
        {**row, **(turned if verdict == "rejected" else sides), "tie": verdict == "tie"}
        | {"weight": weight * found.count(verdict) / len(found)}
        for verdict in dict.fromkeys(found)
    ]


def check_ratings(row: Row) -> int:
    """Return how many responses a rated pool has.

    Raises:
        DataError: responses and ratings are no lists of one length.
    """
    responses, ratings = row.get("responses"), row["ratings"]
    if not isinstance(responses, list) or not isinstance(ratings, list) or len(ratings) != len(responses):
        raise DataError(f"responses need a list of as many ratings, got {short(ratings)} for {short(responses)}")
    return len(responses)


def with_numbers(row: Row, rules: RowRules) -> Row:
    """Return a pair whose weight, margin and tie are numbers, where it has them.

    Raises:
        DataError: one of them is no finite number, or a weight is negative.
    """
    out = dict(row)
    wanted = rules.columns.get("margin", "")
    parts = difference(wanted, row) if wanted not in ("", GAP) else None
    if parts is not None:
        first, second = (number_or(row[part], part, None) for part in parts)
        out["margin"] = None if first is None or second is None else first - second
    for column, default in NUMBERS.items():
        if column in out:
            out[column] = number_or(out[column], column, default)
    if out.get("tie") not in (None, 0, 1):
        raise DataError(f"tie must be true or false, got {out['tie']}")
    if out.get("weight") is not None and number(out["weight"], "weight") < 0:
        raise DataError(f"weight must not be negative, got {out['weight']}")
    return out
