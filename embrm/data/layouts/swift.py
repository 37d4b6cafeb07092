"""Pairs as ms-swift has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from embrm.core.registry import register
from embrm.data.faults import RowRules
from embrm.data.layouts._layout import Columns, Row, RowLayout, needed, with_history, with_prompt
from embrm.errors import DataError


@register
@dataclass(frozen=True)
class SwiftPairs(RowLayout):
    """A query (and history) with response and rejected_response, or messages with rejected_response (ms-swift).

    Where there are messages, the last of them is the chosen response; rejected_messages are a conversation beside it,
    or its last turn.
    """

    kinds = ("pairs",)
    example = ({"query": "How?", "response": "So.", "rejected_response": "No.", "history": [["Hi.", "Yes?"]]},)

    def fits(self, columns: Columns) -> bool:
        """See `RowLayout`."""
        query = columns.has("query", "response", "rejected_response")
        return query or (columns.has("messages") and len(columns.any("rejected_response", "rejected_messages")) == 1)

    def reader(self, columns: Columns, rules: RowRules) -> Callable[[Row], Row]:
        """See `RowLayout`."""
        return _from_messages if columns.has("messages") and not columns.has("query") else _from_query


def _from_messages(row: Row) -> Row:
    messages = needed(row, "messages")
    if not isinstance(messages, list) or len(messages) < 2:
        raise DataError("messages must be a list of the prompt's messages and the chosen one")
    other = "rejected_messages" if "rejected_messages" in row else "rejected_response"
    kept = {k: v for k, v in row.items() if k not in ("messages", other)}
    pair = {"chosen": messages[-1:], "rejected": needed(row, other)}
    return with_prompt({**kept, **pair}, messages[:-1])


def _from_query(row: Row) -> Row:
    prompt = with_history(needed(row, "query"), row.get("history"))
    kept = {k: v for k, v in row.items() if k not in ("query", "history", "response", "rejected_response")}
    pair = {"chosen": needed(row, "response"), "rejected": needed(row, "rejected_response")}
    return with_prompt({**kept, **pair}, prompt)
