"""Preference pairs in TRL's columns."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from embrm.core.registry import register
from embrm.data.faults import RowRules
from embrm.data.layouts._layout import ASKS, Columns, Row, RowLayout, asking


@register
@dataclass(frozen=True)
class TrlPairs(RowLayout):
    """TRL's prompt, chosen, rejected: text or messages, the prompt beside the responses or at their beginning.

    `weight`, `margin` (numbers), `tie` (true or false) and `annotator` are used where they are given.
    """

    kinds = ("pairs",)
    example = (
        {"prompt": "How?", "chosen": "So.", "rejected": "No."},
        {
            "chosen": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "So."}],
            "rejected": [{"role": "user", "content": "Why?"}, {"role": "assistant", "content": "No."}],
        },
    )

    def fits(self, columns: Columns) -> bool:
        """See `RowLayout`."""
        others = columns.any(*ASKS, "conversations", "conversation")
        return columns.has("chosen", "rejected") and (columns.has("prompt") or not others)

    def reader(self, columns: Columns, rules: RowRules) -> Callable[[Row], Row]:
        """See `RowLayout`."""
        if not columns.has("prompt", "history"):
            return dict
        ask = asking(columns)
        return lambda row: {**row, "prompt": ask(row)}
