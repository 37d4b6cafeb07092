"""Outputs of systems as AlpacaEval has them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from embrm.core.files import Rows
from embrm.core.registry import register
from embrm.data.faults import Faults, RowRules
from embrm.data.layouts._groups import grouped
from embrm.data.layouts._layout import Columns, Row, RowLayout, needed
from embrm.errors import DataError


@register
@dataclass(frozen=True)
class SystemOutputs(RowLayout):
    """One output of one system a row: instruction, output, generator (AlpacaEval's model_outputs.json).

    Outputs of several systems to one instruction, from one file or a pattern of several, make a pool with their
    generators as policies.
    """

    kinds = ("pools",)
    gathers = ("pools",)
    example = (
        {"instruction": "How?", "output": "So.", "generator": "m"},
        {"instruction": "How?", "output": "No.", "generator": "n"},
    )

    def fits(self, columns: Columns) -> bool:
        """See `RowLayout`."""
        return columns.has("instruction", "output", "generator")

    def turn(self, rows: Rows, faults: Faults, rules: RowRules) -> Iterator[tuple[int, Row]]:
        """See `RowLayout`."""
        good: list[tuple[int, Row]] = []
        for i, row in enumerate(rows.values):
            try:
                needed(row, "output")
                good.append((i, {"prompt": needed(row, "instruction"), **row}))
            except DataError as error:
                faults.add(i, error)
        for group in grouped(good):
            pool = {"responses": [r["output"] for _, r in group], "policy": [str(r["generator"]) for _, r in group]}
            yield group[0][0], {"prompt": group[0][1]["prompt"], **pool}
