"""Numbers as people write them: JSON's, NumPy's, decimals, true and false, and text that is a number."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import Any

from embrm.data.chat import short
from embrm.errors import DataError

_WORDS = {"true": 1.0, "false": 0.0}
_NOTHING = ("", "n/a", "na", "nan", "none", "null")


def number(value: Any, name: str) -> float:
    """Return a finite number.

    Raises:
        DataError: it is none.
    """
    found = _parsed(value)
    if found is None or not math.isfinite(found):
        raise DataError(f"{name} must be a finite number, got {short(value)}")
    return found


def number_or(value: Any, name: str, default: float | None) -> float | None:
    """Return a finite number, or the default where there is none: null, NaN, or a text such as "" and "N/A".

    Raises:
        DataError: it is neither.
    """
    if value is None or (isinstance(value, str) and value.strip().lower() in _NOTHING):
        return default
    found = _parsed(value)
    return default if found is not None and math.isnan(found) else number(value, name)


def _parsed(value: Any) -> float | None:
    if isinstance(value, str):
        word = value.strip().lower()
        if word in _WORDS:
            return _WORDS[word]
    elif not isinstance(value, int | float | Decimal) and not hasattr(value, "dtype"):
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None
    except OverflowError:  # more than a float holds
        return math.inf
