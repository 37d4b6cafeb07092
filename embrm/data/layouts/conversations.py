"""Whole conversations."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from embrm.core.registry import register
from embrm.data.faults import RowRules
from embrm.data.layouts._layout import ASKS, Columns, Row, RowLayout


@register
@dataclass(frozen=True)
class WholeConversations(RowLayout):
    """A conversation a row, in messages or conversations: the last answer is the response, the prompt all before."""

    kinds = ("texts",)
    example = (
        {"messages": [{"role": "user", "content": "How?"}, {"role": "assistant", "content": "So."}]},
        {"messages": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "No."}]},
    )

    def fits(self, columns: Columns) -> bool:
        """See `RowLayout`."""
        others = ("chosen", "rejected", "rejected_response", "rejected_messages", "response", "completion")
        alone = not columns.any("prompt", *ASKS, *others, "responses", "completions")
        return alone and len(columns.any("messages", "conversations", "conversation")) == 1

    def reader(self, columns: Columns, rules: RowRules) -> Callable[[Row], Row]:
        """See `RowLayout`."""
        name = columns.any("messages", "conversations", "conversation")[0]
        return lambda row: {**{k: v for k, v in row.items() if k != name}, "response": row.get(name)}
