"""Rows of one prompt, brought together into pools."""

from __future__ import annotations

import json
from collections.abc import Hashable, Sequence
from typing import Any

from embrm.data.layouts._layout import Row


def grouped(rows: Sequence[tuple[int, Row]], *, by: Sequence[str] = ("prompt",)) -> list[list[tuple[int, Row]]]:
    """Return the rows of each prompt, prompts in the order in which they first stood; rows without one stay alone."""
    found: dict[Hashable, list[tuple[int, Row]]] = {}
    for i, row in rows:
        key: Hashable = tuple(_key(row.get(name)) for name in by) if row.get("prompt") else i
        found.setdefault(key, []).append((i, row))
    return list(found.values())


def _key(value: Any) -> Hashable:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True, default=str)
