"""Names that are not known: the nearest that is, for messages."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return "Did you mean 'near'?", or what there is where nothing is near."""
    there = list(known)
    near = difflib.get_close_matches(name, there, n=1)
    return f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(there) or 'none'}."
