"""Rankings and ratings → preference pairs, each annotator's apart; and rows in TRL's columns."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import Array, IntArray, as_vector
from embrm.core.data import Features, Pairs
from embrm.data.numbers import number_or
from embrm.errors import DataError, OptionError

Ties = Literal["drop", "keep"]
Which = Literal["all", "best", "adjacent"]


def from_ratings(
    features: Features,
    rating: npt.ArrayLike,
    *,
    row: npt.ArrayLike | None = None,
    annotator: Sequence[str] | None = None,
    least_gap: float = 0.0,
    ties: Ties = "drop",
    margins: bool = False,
) -> dict[str, Pairs]:
    """Compare all texts of a prompt that one annotator rated; return the pairs of each annotator.

    Ratings of different annotators are never compared: their scales differ.

    Args:
        features: the texts.
        rating: `(k,)`, larger is better.
        row: `(k,)` the row of features that each rating is of; None means that `rating` has one entry a row.
        annotator: `k` names; None means one annotator, named "".
        least_gap: two ratings that differ by no more than this are a tie.
        ties: "drop" leaves ties out, "keep" makes them pairs with `tie` True.
        margins: whether the gap of the ratings becomes the pair's margin, in the units of the ratings.

    Raises:
        DataError: lengths differ, an annotator rated a text twice, or no pair comes out.
        OptionError: `ties` is unknown, or `least_gap` is negative.

    Examples:
        Two annotators rated the same three answers; the scale of the second is another:

        >>> import numpy as np
        >>> from embrm import Features
        >>> texts = Features({"joint": np.eye(3)}, prompt=np.zeros(3, dtype=int))
        >>> rating, row = [1.0, 3.0, 2.0, 9.0, 8.0], [0, 1, 2, 0, 1]
        >>> labels = from_ratings(texts, rating, row=row, annotator=["ann"] * 3 + ["bob"] * 2)
        >>> [(name, pairs.chosen.tolist(), pairs.rejected.tolist()) for name, pairs in labels.items()]
        [('ann', [1, 2, 1], [0, 0, 2]), ('bob', [0], [1])]
    """
    _check(ties, least_gap)
    rows = np.arange(len(features)) if row is None else as_vector(row, "row", np.asarray(row).size, np.int64)
    score = as_vector(rating, "rating", len(rows), np.float64)
    names = _names(annotator, len(rows))
    if rows.size and not (rows.min() >= 0 and rows.max() < len(features)):
        raise DataError(f"row must index the {len(features)} rows of features, got {rows.min()}..{rows.max()}")
    found: dict[str, list[tuple[IntArray, IntArray, Array]]] = {}
    for name, group in _groups(names, features.prompt[rows]):
        if len(np.unique(rows[group])) < len(group):
            raise DataError(f"annotator '{name}' rated a text twice; keep one rating of each text")
        better, worse, gap = _compare(score[group])
        found.setdefault(name, []).append((rows[group][better], rows[group][worse], gap))
    out: dict[str, Pairs] = {}
    for name, parts in found.items():
        better, worse, gap = (np.concatenate(part) for part in zip(*parts, strict=True))
        tie = gap <= least_gap
        kept = ~tie if ties == "drop" else np.ones(len(gap), dtype=bool)
        if kept.any():
            out[name] = Pairs(
                features,
                better[kept],
                worse[kept],
                margin=np.where(tie, 0.0, gap)[kept] if margins else None,
                tie=tie[kept] if ties == "keep" else None,
            )
    return _told(out, names)


def from_rankings(
    features: Features,
    rankings: Sequence[Sequence[int]],
    *,
    annotator: Sequence[str] | None = None,
    adjacent: bool = False,
) -> dict[str, Pairs]:
    """Turn rankings into pairs; return the pairs of each annotator.

    Args:
        features: the texts.
        rankings: each lists rows of features, the best first, all of one prompt.
        annotator: who made each ranking; None means one annotator, named "".
        adjacent: whether only neighbours in a ranking are compared, and not every text with all that come after it.

    Raises:
        DataError: a ranking names a text twice or texts of several prompts, lengths differ, or no pair comes out.

    Examples:
        >>> import numpy as np
        >>> from embrm import Features
        >>> texts = Features({"joint": np.eye(3)}, prompt=np.zeros(3, dtype=int))
        >>> pairs = from_rankings(texts, [[2, 0, 1]])[""]
        >>> pairs.chosen.tolist(), pairs.rejected.tolist()
        ([2, 2, 0], [0, 1, 1])
    """
    names = _names(annotator, len(rankings))
    found: dict[str, list[tuple[int, int]]] = {}
    for number, (ranking, name) in enumerate(zip(rankings, names, strict=True)):
        if len(set(ranking)) < len(ranking):
            raise DataError(f"ranking {number} names a text twice: {list(ranking)}")
        for i, better in enumerate(ranking):
            after = ranking[i + 1 : i + 2] if adjacent else ranking[i + 1 :]
            found.setdefault(name, []).extend((better, worse) for worse in after)
    arrays = {name: np.array(pairs).T for name, pairs in found.items() if pairs}
    return _told({name: Pairs(features, pairs[0], pairs[1]) for name, pairs in arrays.items()}, names)


def together(labels: Mapping[str, Pairs]) -> Pairs:
    """Return the pairs of all annotators as one set, with their names; what several judged stands there once for each.

    Raises:
        DataError: there are none, or they are of different features.

    Examples:
        >>> import numpy as np
        >>> from embrm import Features
        >>> texts = Features({"joint": np.eye(2)}, prompt=np.zeros(2, dtype=int))
        >>> labels = from_rankings(texts, [[0, 1], [1, 0]], annotator=["ann", "bob"])
        >>> len(together(labels))
        2
    """
    parts = list(labels.values())
    if not parts or any(part.features is not parts[0].features for part in parts):
        raise DataError("together needs pairs over one features object; pass what from_ratings or from_rankings gave")

    def joined(name: str, default: float) -> Array | None:
        given = [getattr(part, name) for part in parts]
        if all(a is None for a in given):
            return None
        return np.concatenate([np.full(len(p), default) if a is None else a for p, a in zip(parts, given, strict=True)])

    tie = joined("tie", 0)
    return Pairs(
        parts[0].features,
        np.concatenate([part.chosen for part in parts]),
        np.concatenate([part.rejected for part in parts]),
        weight=joined("weight", 1),
        margin=joined("margin", 0),
        tie=None if tie is None else tie.astype(bool),
        annotator=np.concatenate([np.full(len(part), name) for name, part in labels.items()]),
    )


def trl_rows(
    records: Iterable[Mapping[str, Any]],
    *,
    least_gap: float = 0.0,
    ties: Ties = "drop",
    which: Which = "all",
    margins: bool = False,
) -> list[dict[str, Any]]:
    """Turn rated pools of texts into rows with TRL's columns, which `embrm.read_pairs` reads.

    Equal texts are no pair, whatever their ratings, and are left out.

    Args:
        records: `{prompt, responses[], ratings[] or ranking[], annotator?, cluster?}`; `ranking` lists numbers of
            responses, the best first, and may leave some out, as ratings do that are None, NaN or "N/A". A prompt
            judged by several annotators has a record for each.
        least_gap: see `from_ratings`.
        ties: see `from_ratings`.
        which: "all" compares all responses with each other, "best" the first of the best with all others, "adjacent"
            each with the next worse.
        margins: whether the gap becomes the pair's `margin`; of a ranking it counts places.

    Returns:
        Rows `{prompt, chosen, rejected}`, with `annotator` and `cluster` where the record has them, `tie` where ties
        are kept and `margin` where margins are wanted.

    Raises:
        DataError: a record has neither ratings nor a ranking, or they do not fit its responses (it is named).
        OptionError: `ties` or `which` is unknown, or `least_gap` is negative.

    Examples:
        >>> rated = {"prompt": "Why?", "responses": ["No idea.", "Because.", "Hm."], "ratings": [1, 4, 1]}
        >>> for row in trl_rows([rated]):
        ...     print(row)
        {'prompt': 'Why?', 'chosen': 'Because.', 'rejected': 'No idea.'}
        {'prompt': 'Why?', 'chosen': 'Because.', 'rejected': 'Hm.'}
    """
    _check(ties, least_gap)
    if which not in ("all", "best", "adjacent"):
        raise OptionError(f"which must be 'all', 'best' or 'adjacent', got '{which}'")
    out: list[dict[str, Any]] = []
    for number, record in enumerate(records):
        responses, place = record.get("responses") or [], f"record {number}"
        score = _scores(record, len(responses), place)
        judged = np.flatnonzero(~np.isnan(score))
        for i, j, gap in zip(*_compare(score[judged], which), strict=True):
            chosen, rejected = responses[judged[i]], responses[judged[j]]
            tie = bool(gap <= least_gap)
            if chosen == rejected or (tie and ties == "drop"):
                continue
            row = {"prompt": record.get("prompt", ""), "chosen": chosen, "rejected": rejected}
            row |= {name: record[name] for name in ("annotator", "cluster") if name in record}
            row |= {"tie": tie} if ties == "keep" else {}
            out.append(row | ({"margin": 0.0 if tie else float(gap)} if margins else {}))
    return out


def _scores(record: Mapping[str, Any], size: int, place: str) -> Array:
    if "ratings" in record:
        ratings = [number_or(value, f"{place}: ratings", np.nan) for value in record["ratings"]]
        as_vector(np.nan_to_num(np.array(ratings, dtype=np.float64)), f"{place}: ratings", size, np.float64)
        return np.array(ratings, dtype=np.float64)
    if "ranking" not in record:
        raise DataError(f"{place} has neither 'ratings' nor 'ranking'; found: {', '.join(sorted(record))}")
    ranking = list(record["ranking"])
    if len(set(ranking)) < len(ranking) or not set(ranking) <= set(range(size)):
        raise DataError(
            f"{place}: ranking must list different numbers of the {size} responses from 0, the best first, got "
            f"{ranking}; ranks, where the lowest is the best, are ratings with their sign turned: [-rank, …]"
        )
    score = np.full(size, np.nan)
    score[ranking] = -np.arange(len(ranking), dtype=np.float64)
    return score


def _groups(names: list[str], prompt: IntArray) -> Iterator[tuple[str, IntArray]]:
    """Yield each annotator with the ratings of each prompt, annotators and prompts in the order of their names."""
    distinct, number = np.unique(names, return_inverse=True)
    order = np.lexsort([prompt, number])
    ends = np.flatnonzero((np.diff(number[order]) != 0) | (np.diff(prompt[order]) != 0)) + 1
    for group in np.split(order, ends):
        if group.size:
            yield str(distinct[number[group[0]]]), np.sort(group)


def _compare(score: Array, which: Which = "all") -> tuple[IntArray, IntArray, Array]:
    """Return better, worse and the gap of all pairs of entries, or of those that are wanted."""
    i, j = np.triu_indices(len(score), k=1)
    if which != "all" and len(score):
        place = np.empty(len(score), dtype=np.int64)
        place[np.argsort(-score, kind="stable")] = np.arange(len(score))
        low, high = np.minimum(place[i], place[j]), np.maximum(place[i], place[j])
        kept = low == 0 if which == "best" else high == low + 1
        i, j = i[kept], j[kept]
    swap = score[j] > score[i]
    return np.where(swap, j, i), np.where(swap, i, j), np.abs(score[i] - score[j])


def _check(ties: str, least_gap: float) -> None:
    if ties not in ("drop", "keep"):
        raise OptionError(f"ties must be 'drop' or 'keep', got '{ties}'")
    if not least_gap >= 0:
        raise OptionError(f"least_gap must be >= 0, got {least_gap}")


def _names(annotator: Sequence[str] | None, size: int) -> list[str]:
    names = [""] * size if annotator is None else [str(name) for name in annotator]
    if len(names) != size:
        raise DataError(f"annotator must give {size} names, got {len(names)}")
    return names


def _told(labels: dict[str, Pairs], names: list[str]) -> dict[str, Pairs]:
    """Return the labels, and say who gave none."""
    silent = [name for name in dict.fromkeys(names) if name not in labels]
    if not labels:
        raise DataError("no pair comes out: nobody prefers one text of a prompt to another")
    if silent:
        warnings.warn(f"{len(silent)} annotators give no pair, first: '{silent[0]}'", stacklevel=3)
    return labels
