"""Pairs as LLaMA-Factory has them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from embrm.core.registry import register
from embrm.data.faults import RowRules
from embrm.data.layouts._layout import ASKS, Columns, Row, RowLayout, with_prompt


@register
@dataclass(frozen=True)
class ShareGptPairs(RowLayout):
    """A list of turns in conversations, with chosen and rejected as the turn that follows (LLaMA-Factory's sharegpt).

    Turns are `{from, value}` or `{role, content}`; chosen and rejected are one turn, a list of them, or text.
    """

    kinds = ("pairs",)
    example = (
        {
            "conversations": [{"from": "human", "value": "How?"}],
            "chosen": {"from": "gpt", "value": "So."},
            "rejected": {"from": "gpt", "value": "No."},
        },
    )

    def fits(self, columns: Columns) -> bool:
        """See `RowLayout`."""
        turns = columns.any("conversations", "conversation")
        return columns.has("chosen", "rejected") and bool(turns) and not columns.any("prompt", *ASKS)

    def reader(self, columns: Columns, rules: RowRules) -> Callable[[Row], Row]:
        """See `RowLayout`."""
        name = columns.any("conversations", "conversation")[0]
        return lambda row: with_prompt({k: v for k, v in row.items() if k != name}, row.get(name))
