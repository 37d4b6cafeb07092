"""Pairs as ms-swift has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from embrm.core.registry import register
from embrm.data.faults import RowRules
from embrm.data.layouts._layout import Columns, Row, RowLayout, needed, with_prompt
from embrm.errors import DataError


@register
@dataclass(frozen=True)
class SwiftPairs(RowLayout):
    """A query (and history) with response and rejected_response, or messages with rejected_response (ms-swift).

    Where there are messages, the last of them is the chosen response.
    """

    kinds = ("pairs",)
    example = ({"query": "How?", "response": "So.", "rejected_response": "No.", "history": [["Hi.", "Yes?"]]},)

    def fits(self, columns: Columns) -> bool:
        """See `RowLayout`."""
        return columns.has("rejected_response") and (columns.has("query", "response") or columns.has("messages"))

    def reader(self, columns: Columns, rules: RowRules) -> Callable[[Row], Row]:
        """See `RowLayout`."""
        return _from_messages if columns.has("messages") and not columns.has("query") else _from_query


def _from_messages(row: Row) -> Row:
    messages = needed(row, "messages")
    if not isinstance(messages, list) or len(messages) < 2:
        raise DataError("messages must be a list of the prompt's messages and the chosen one")
    kept = {k: v for k, v in row.items() if k not in ("messages", "rejected_response")}
    pair = {"chosen": messages[-1:], "rejected": needed(row, "rejected_response")}
    return with_prompt({**kept, **pair}, messages[:-1])


def _from_query(row: Row) -> Row:
    prompt: Any = needed(row, "query")
    history = row.get("history") or []
    if not isinstance(history, list) or not all(isinstance(turn, list | tuple) and len(turn) == 2 for turn in history):
        raise DataError("history must be a list of [query, response]")
    if history:
        turns = [
            {"role": r, "content": t} for pair in history for r, t in zip(("user", "assistant"), pair, strict=True)
        ]
        prompt = [*turns, {"role": "user", "content": prompt}]
    kept = {k: v for k, v in row.items() if k not in ("query", "history", "response", "rejected_response")}
    pair = {"chosen": needed(row, "response"), "rejected": needed(row, "rejected_response")}
    return with_prompt({**kept, **pair}, prompt)
