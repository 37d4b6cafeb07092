"""Pools of candidates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from embrm.core.registry import register
from embrm.data.faults import RowRules
from embrm.data.layouts._layout import Columns, Row, RowLayout, asking, with_prompt
from embrm.data.layouts._ratings import judged_list


@register
@dataclass(frozen=True)
class CandidatePools(RowLayout):
    """A prompt with several responses, and where they are known their gold rewards and policies, for best of n."""

    kinds = ("pools",)
    example = ({"id": "a", "prompt": "How?", "responses": ["So.", "No."], "gold": [1.0, 0.2], "policy": ["m", "n"]},)

    def fits(self, columns: Columns) -> bool:
        """See `RowLayout`."""
        return columns.has("responses") and columns.asked and not columns.objects() and not judged_list(columns)

    def reader(self, columns: Columns, rules: RowRules) -> Callable[[Row], Row]:
        """See `RowLayout`."""
        ask = asking(columns)
        return lambda row: with_prompt(row, ask(row))
