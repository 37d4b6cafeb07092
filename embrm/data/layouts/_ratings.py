"""Ratings of responses: how they are called, where they lie, and which of several is meant."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from embrm.data.layouts._layout import Columns
from embrm.data.numbers import number_or
from embrm.errors import DataError

RATINGS = (
    "rating",
    "score",
    "overall_score",
    "overall_rating",
    "overall",
    "fine-grained_score",
    "average_rating",
    "helpfulness",
    "correctness",
    "coherence",
    "complexity",
    "verbosity",
    "honesty",
    "truthfulness",
    "instruction_following",
    "harmlessness",
    "quality",
    "pm_score",
    "stars",
)


def judged_list(columns: Columns) -> tuple[str, str] | None:
    """Return the column with lists of responses and the one with as many judgements, or None where there is none."""
    lists = [name for name in ("responses", "generations", "candidates", "outputs") if columns.are(name, list)]
    found = [name for name in ("ratings", "ranking", "rating", "scores", "rewards") if columns.are(name, list)]
    return (lists[0], found[0]) if len(lists) == 1 and found and not columns.has("gold") else None


def rating_columns(columns: Columns) -> list[str]:
    """Return the columns that rate the response of a row; `label` is one beside a completion, as in TRL."""
    return columns.any(*RATINGS, *(["label"] if columns.has("completion") else []))


def chosen_rating(found: Sequence[str], wanted: str | None) -> str:
    """Return which rating is meant.

    Raises:
        DataError: there are several and none was chosen, or none of that name.
    """
    if "rating" in found:  # the column of that name, or the one that was renamed to it
        return "rating"
    if wanted is not None and wanted not in found:
        raise DataError(f"there is no rating '{wanted}'; found: {', '.join(found)}")
    if wanted is None and len(found) > 1:
        raise DataError(
            f"the responses have several ratings ({', '.join(found)}); choose one: --columns rating={found[0]}"
        )
    if not found:
        raise DataError("the responses have no rating; name one: --columns rating=NAME")
    return found[0] if wanted is None else wanted


def ratings_of(completion: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ratings of a completion by their names, those of aspects (`annotations.helpfulness.Rating`) too."""
    found = {name: completion[name] for name in RATINGS if name in completion}
    aspects = completion.get("annotations")
    for name, aspect in aspects.items() if isinstance(aspects, Mapping) else ():
        if isinstance(aspect, Mapping) and "Rating" in aspect:
            found[name] = aspect["Rating"]
    return found


def as_rating(value: Any, name: str) -> float | None:
    """Return a rating, or None where there is none, such as "N/A".

    Raises:
        DataError: it is no number.
    """
    return number_or(value, name, None)
