"""How much of a file is read: stated bounds, each of which an environment variable raises."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, NoReturn

from embrm.errors import DataError, OptionError


@dataclass(frozen=True)
class Bound:
    """A bound on what is read.

    Attributes:
        name: `EMBRM_MAX_<NAME>` is the environment variable that raises or lowers it.
        usual: the value where the variable is not set.
        unit: what is counted.
    """

    name: str
    usual: int
    unit: str

    @property
    def variable(self) -> str:
        """The environment variable."""
        return f"EMBRM_MAX_{self.name}"

    @property
    def value(self) -> int:
        """The bound in force.

        Raises:
            OptionError: the variable is no whole number above 0.
        """
        typed = os.environ.get(self.variable, "")
        if not typed:
            return self.usual
        if not (typed.isascii() and typed.isdecimal() and len(typed) < 19 and int(typed) > 0):
            raise OptionError(f"{self.variable} must be a whole number above 0, got '{typed[:40]}'")
        return int(typed)

    def check(self, count: int, where: str) -> None:
        """Raise DataError, naming the place and the way out, where there is more than the bound."""
        if count > self.value:
            self.refuse(where)

    def refuse(self, where: str, error: Exception | None = None) -> NoReturn:
        """Raise DataError at a place that has more than the bound."""
        raise DataError(
            f"{where} has more than {self.value} {self.unit}, which is as much as is read; split it, or if you trust "
            f"it raise the bound: {self.variable}={2 * self.value}"
        ) from error


BYTES = Bound("BYTES", 4 << 30, "bytes")  # of a file of rows or vectors, once it is unpacked
STREAM = Bound("STREAM", 1 << 40, "bytes")  # of a file that is read block by block
DOCUMENT = Bound("DOCUMENT", 64 << 20, "bytes")  # of one JSON or YAML document, such as a model's config.json
RATIO = Bound("RATIO", 100, "bytes for each byte that is packed")
LINE = Bound("LINE", 64 << 20, "bytes in one line")
ROWS = Bound("ROWS", 2_000_000, "rows")
REFUSED = Bound("REFUSED", 100_000, "lines that are no rows")
COLUMNS = Bound("COLUMNS", 10_000, "columns in one row")
DEPTH = Bound("DEPTH", 100, "lists or objects inside each other")
EVERY = (BYTES, STREAM, DOCUMENT, RATIO, LINE, ROWS, REFUSED, COLUMNS, DEPTH)

ALWAYS_UNPACKED = 64 << 20  # bytes: a small file of equal rows is packed better than any ratio that is safe for large


def unpacked_bound(packed: int) -> int:
    """Return how many bytes a packed file of so many bytes may become."""
    return min(BYTES.value, max(ALWAYS_UNPACKED, RATIO.value * packed))


def is_deeper(value: Any, most: int) -> bool:
    """Say whether lists and mappings stand more than `most` deep inside each other, without recursion."""
    level: list[Any] = [value] if isinstance(value, dict | list) else []
    for _ in range(most):
        level = [part for outer in level for part in _parts(outer) if isinstance(part, dict | list)]
        if not level:
            return False
    return True


def _parts(value: dict[Any, Any] | list[Any]) -> Iterable[Any]:
    return value.values() if isinstance(value, dict) else value
