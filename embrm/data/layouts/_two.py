"""Two responses beside each other: how their columns are called, for the layouts that say which is better."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from embrm.data.chat import short
from embrm.data.layouts._layout import Columns, Row, asking, needed, with_prompt
from embrm.errors import DataError

BASES = ("response", "output", "answer", "completion", "conversation")
SCORES = ("score", "rating", "reward", "overall_score")
TIES = ("tie", "ties", "both", "equal", "same", "tie (bothbad)", "both bad", "both good", "bothbad", "draw", "neither")
ENDINGS = (("_0", "_1"), ("_1", "_2"), ("_a", "_b"), ("_A", "_B"), ("1", "2"), ("0", "1"), ("a", "b"), ("A", "B"))


def two_columns(columns: Columns) -> tuple[str, str] | None:
    """Return the columns of two responses, or None where there are no such, or several, or three."""
    found = [pair for pair in _pairs() if columns.has(*pair) and not columns.has(_third(pair[1]))]
    numbered = [pair for pair in found if not pair[0].endswith("0")]  # response_0, _1 and _2 are three
    return found[0] if len(found) == 1 and len(numbered) <= 1 else None


def _third(second: str) -> str:
    """Return what the column of a third response would be called: response_3 after response_2, answer_c after _b."""
    return second[:-1] + chr(ord(second[-1]) + 1)


def _pairs() -> Iterator[tuple[str, str]]:
    for base in BASES:
        for first, second in ENDINGS:
            yield base + first, base + second


def score_columns(columns: Columns) -> tuple[str, str] | None:
    """Return the columns of the scores of two responses, which end as the responses' do."""
    names = two_columns(columns)
    endings = [(a, b) for a, b in ENDINGS if names is not None and names[0].endswith(a) and names[1].endswith(b)]
    found = [(base + a, base + b) for base in SCORES for a, b in endings if columns.has(base + a, base + b)]
    return found[0] if len(found) == 1 else None


def paired(row: Row, columns: Columns, names: tuple[str, str], *, first: bool, drop: tuple[str, ...]) -> Row:
    """Return a pair whose chosen response is the first of the two, or the second."""
    better, worse = names if first else names[::-1]
    context = row.get("context") if not columns.has("prompt") and columns.has("context") else None
    prompt = asking(columns)(row) if context is None else context
    kept = {k: v for k, v in row.items() if k not in (*names, *drop, "context")}
    chosen, rejected = needed(row, better), needed(row, worse)
    turns = [_texts(value) for value in (prompt, chosen, rejected)]
    if turns[0] is not None and all(said is not None and len(said) == len(turns[0]) for said in turns):
        prompt, chosen, rejected = None, *(_alternating(turns[0], said or []) for said in turns[1:])
    return with_prompt({**kept, "chosen": chosen, "rejected": rejected}, prompt)


def _texts(value: Any) -> list[str] | None:
    """Return the texts of each turn, where a cell lists such, be it as JSON (as the arena's human preferences do)."""
    try:
        value = json.loads(value) if isinstance(value, str) and value.startswith('["') else value
    except ValueError:
        return None
    listed = isinstance(value, list) and value and all(part is None or isinstance(part, str) for part in value)
    return [part or "" for part in value] if listed else None


def _alternating(asked: list[str], said: list[str]) -> list[Row]:
    turns = [turn for pair in zip(asked, said, strict=True) for turn in zip(("user", "assistant"), pair, strict=True)]
    return [{"role": role, "content": text} for role, text in turns]


def told(value: Any, names: tuple[str, str], column: str) -> int | None:
    """Return 0 or 1, or None for a tie, where a column names the better response by its number, letter or column.

    Raises:
        DataError: it names neither.
    """
    word = str(int(value) if isinstance(value, float) and value.is_integer() else value).strip().lower()
    word = re.sub(r"[_-]+", " ", word) if "both" in word else word
    if word in TIES:
        return None
    ends = [re.sub(r"^[a-z]+_?", "", name.lower()) or name[-1].lower() for name in names]
    ends = [name[-1].lower() for name in names] if not all(ends) else ends
    against = re.fullmatch(r"\[*([ab12])\s*([>=<])[>=<]*\s*([ab12])\]*", word)  # JudgeBench and Arena-Hard: A>B, A=B
    if against is not None:
        better = {">": against[1], "<": against[3], "=": None}[against[2]]
        return None if better is None else "ab12".index(better) % 2
    plain = re.sub(r"^(model|response|output|answer|completion|conversation|assistant)[ _]?", "", word)
    if not isinstance(value, bool) and plain in ends:
        return ends.index(plain)
    if isinstance(value, float) and ends == ["1", "2"] and 1 < value < 2:  # AlpacaEval's mean of two orders
        return None if value == 1.5 else int(value > 1.5)
    raise DataError(f"{column} must be {ends[0]}, {ends[1]} or tie (as {names[0]}, {names[1]}), got {short(value)}")
