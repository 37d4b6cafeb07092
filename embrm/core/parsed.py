"""Rows as they are read out of any container, within the bounds of `embrm.core.bounds`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from embrm.core.bounds import COLUMNS, DEPTH, ROWS, is_deeper


@dataclass
class Parsed:
    """Rows as they stood in a container, within the bounds of `embrm.core.bounds`.

    Attributes:
        unit: what is counted, `"line"` or `"row"`.
        name: of the container.
        values, numbers: the rows, and the number of each from 1.
    """

    unit: str
    name: str
    values: list[dict[str, Any]] = field(default_factory=list)
    numbers: list[int] = field(default_factory=list)
    most: tuple[int, int, int] = field(default_factory=lambda: (ROWS.value, COLUMNS.value, DEPTH.value))

    def add(self, value: dict[str, Any], number: int) -> None:
        """Append a row.

        Raises:
            DataError: there are more rows, or the row has more columns or is nested deeper, than is read.
        """
        rows, columns, depth = self.most
        if len(self.values) >= rows:
            ROWS.refuse(self.name)
        if len(value) > columns:
            COLUMNS.refuse(f"{self.name} {self.unit} {number}")
        if is_deeper(value, depth):
            DEPTH.refuse(f"{self.name} {self.unit} {number}")
        self.values.append(value)
        self.numbers.append(number)
