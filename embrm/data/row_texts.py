"""Rows in their common form → the texts of each, with what is wrong or lost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from embrm.core.arrays import IntArray
from embrm.data.chat import short
from embrm.data.faults import Faults, RowRules
from embrm.data.layouts._layout import Row, is_missing, needed
from embrm.data.numbers import number
from embrm.data.pairing import by_verdict, check_ratings, compared, with_numbers
from embrm.data.prompts import taken_once
from embrm.errors import DataError

PAIRED = ("chosen", "rejected")


@dataclass
class RowTexts:
    """Texts under way: the common rows that gave them, and the file's row of each."""

    values: list[Row] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    responses: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def add(self, i: int, row: Row, prompt: str, responses: Sequence[str]) -> None:
        """Add what row `i` of the file gave."""
        self.values.append(row)
        self.kept.append(i)
        self.prompts += [prompt] * len(responses)
        self.responses += responses
        self.sizes.append(len(responses))

    @property
    def offsets(self) -> IntArray:
        """Which texts each row gave, `(rows + 1,)`."""
        return np.concatenate([[0], np.cumsum(self.sizes, dtype=np.int64)]).astype(np.int64)


def _taken(
    prompt: Any, responses: Sequence[Any], names: Sequence[str], faults: Faults, rules: RowRules
) -> tuple[str, list[str]]:
    """Return what `taken_once` does, and count what is lost of it without a row being left out."""
    asked, texts = taken_once(prompt, responses, names, keep_system=bool(rules.keep_system))
    silent = sum(not text and value not in ("", []) for text, value in zip(texts, responses, strict=True))
    if silent:
        faults.lost("responses hold nothing that is embedded, as where thinking never ends", silent)
    if not asked and not is_missing(prompt) and prompt not in ("", []):
        faults.lost("prompts hold nothing that is embedded, as where there are system turns alone")
    if not asked and all(text.startswith("user: ") for text in texts):
        faults.lost("rows hold conversations that begin with different questions, and so no prompt")
    return asked, texts


def _equal(values: Sequence[Any]) -> str:
    same = values[0] == values[1]
    why = "" if same else " once thinking, system turns and the space around it are left out (see embrm.data.chat)"
    return f"chosen equals rejected{why}; a pair needs two different responses, remove it"


def _pair_texts(turned: Iterable[tuple[int, Row]], faults: Faults, rules: RowRules) -> RowTexts:
    out = RowTexts()
    for i, row in turned:
        try:
            rated = row.get("ratings") is not None
            pairs = compared(row, rules, faults) if rated else by_verdict(row)
            for k, pair in enumerate(pairs):
                values = [needed(pair, column) for column in PAIRED]
                asked, texts = _taken(pair.get("prompt"), values, PAIRED, faults, rules)
                if texts[0] == texts[1] and len(pairs) > 1:
                    faults.lost("pairs of equal texts with different ratings were left out")
                    continue
                if texts[0] == texts[1]:
                    raise DataError(_equal(values))
                named = {"id": f"{faults.rows.label(i)}/{k}"} if rated or len(pairs) > 1 else {}
                out.add(i, {**with_numbers(pair, rules), **named}, asked, texts)
        except DataError as error:
            faults.add(i, error)
    return out


def _pool_texts(turned: Iterable[tuple[int, Row]], faults: Faults, rules: RowRules) -> RowTexts:
    out = RowTexts()
    seen: dict[str, int] = {}
    for i, given in turned:
        try:
            row = _golden(given, faults) if given.get("ratings") is not None else given
            name = faults.rows.label(i)
            if name in seen:
                raise DataError(f"id '{name}' was used before ({faults.rows.where(seen[name])}); ids must differ")
            pool = needed(row, "responses")
            if not isinstance(pool, list) or not pool:
                raise DataError(f"responses must be a list of at least one response, got {short(pool)}")
            _check_columns(row, len(pool))
            places = [f"responses[{j}]" for j in range(len(pool))]
            asked, texts = _taken(needed(row, "prompt"), pool, places, faults, rules)
            seen[name] = i
            out.add(i, row, asked, texts)
        except DataError as error:
            faults.add(i, error)
    return out


def _golden(row: Row, faults: Faults) -> Row:
    """Return a judged pool with its ratings as gold, without the responses that nobody rated."""
    size = check_ratings(row)
    rated = [j for j, rating in enumerate(row["ratings"]) if rating is not None]
    if len(rated) < size:
        faults.lost("responses without a rating were left out", size - len(rated))
    if not rated:
        raise DataError("no response has a rating")
    _check_column(row, "policy", size)
    lists: Row = {name: [row[name][j] for j in rated] for name in ("responses", "policy") if row.get(name) is not None}
    kept = {name: value for name, value in row.items() if name != "ratings"}
    return {**kept, **lists, "gold": [row["ratings"][j] for j in rated]}


def _check_columns(row: Row, size: int) -> None:
    for column in ("gold", "policy"):
        _check_column(row, column, size)
    for value in row.get("gold") or []:
        number(value, "gold")


def _check_column(row: Row, column: str, size: int) -> None:
    given = row.get(column)
    if given is not None and (not isinstance(given, list) or len(given) != size):
        raise DataError(f"{column} must be a list with one entry for each of the {size} responses, got {short(given)}")


def _single_texts(turned: Iterable[tuple[int, Row]], faults: Faults, rules: RowRules) -> RowTexts:
    out = RowTexts()
    for i, row in turned:
        try:
            prompt = row.get("prompt")
            given = "" if is_missing(prompt) else prompt
            asked, texts = _taken(given, [needed(row, "response")], ["response"], faults, rules)
            out.add(i, row, asked, texts)
        except DataError as error:
            faults.add(i, error)
    return out


def _trace_texts(turned: Iterable[tuple[int, Row]], faults: Faults, rules: RowRules) -> RowTexts:
    out = RowTexts()
    for i, row in turned:
        try:
            steps = row["steps"]
            prefixes = ["\n".join(steps[: j + 1]) for j in range(len(steps))]
            places = [f"steps[{j}]" for j in range(len(steps))]
            asked, texts = _taken(needed(row, "prompt"), prefixes, places, faults, rules)
            out.add(i, row, asked, texts)
        except DataError as error:
            faults.add(i, error)
    return out


PARSERS: dict[str, Callable[[Iterable[tuple[int, Row]], Faults, RowRules], RowTexts]] = {
    "pairs": _pair_texts,
    "pools": _pool_texts,
    "texts": _single_texts,
    "traces": _trace_texts,
}
