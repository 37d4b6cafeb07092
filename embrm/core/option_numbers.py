"""Numbers that an option can be: what is typed, or stands in a configuration, is checked at its edges in one way."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from typing import Any

from embrm.errors import OptionError

LARGEST = 2**31 - 1  # of a whole number: counts beyond it are memory or time that no machine has
LARGEST_SEED = 2**32 - 1  # what NumPy, scikit-learn and torch all take
SMALLEST = sys.float_info.min  # smaller ones are rounded so much that dividing by them overflows


def check_numbers(value: Any, name: str) -> None:
    """Make sure that all numbers in an option's value can be calculated with.

    Args:
        value: plain data, a number or a list or mapping that holds some.
        name: what a message calls it.

    Raises:
        OptionError: one is infinite, NaN, so near to 0 that it loses its digits, or a whole number beyond ±2³¹.
    """
    if isinstance(value, Mapping):
        for key, part in value.items():
            check_numbers(part, f"{name}.{key}")
    elif isinstance(value, list | tuple):
        for part in value:
            check_numbers(part, name)
    elif isinstance(value, int):
        if abs(value) > LARGEST:
            raise OptionError(f"{name} must be a whole number inside ±{LARGEST}, got one of {value.bit_length()} bits")
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise OptionError(f"{name} must be a finite number, got {value}")
        if 0 < abs(value) < SMALLEST:
            raise OptionError(f"{name} must be 0 or at least {SMALLEST:.3g} in size, got {value}")
