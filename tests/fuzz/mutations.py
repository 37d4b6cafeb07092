"""What damages a file: of its bytes, or of the values that it holds."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

EDGES: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**30, 10**400, 0.5, -0.0, 1e-320, 1e308, float("inf"), float("nan"),
    "", "x", "../../etc/passwd", "/etc/passwd", "\u0000", "\ud800", "\u202e", "1", "a" * 5000, [], [[]], {}, [None],
    {"": {}}, {"name": "linear", "options": {}}, [[[[[[[[]]]]]]]], [1, "1", None], ["", ""],
)  # fmt: skip


def damaged_bytes(data: bytes, rng: random.Random) -> bytes:
    """Return bytes with one to three faults: flipped bits, cuts, parts that are doubled, moved or foreign."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        i, j = sorted(rng.randint(0, len(data)) for _ in range(2))
        kind = rng.choice(("flip", "flip", "cut", "drop", "double", "splice", "fill"))
        if kind == "flip" and i < len(data):
            data = data[:i] + bytes([data[i] ^ (1 << rng.randrange(8))]) + data[i + 1 :]
        elif kind == "cut":
            data = data[:j]
        elif kind == "drop":
            data = data[:i] + data[min(j, i + rng.randint(1, 16)) :]
        elif kind == "double":
            data = data[:j] + data[i : min(j, i + 4096)] + data[j:]
        elif kind == "splice":
            k = rng.randint(0, len(data))
            data = data[:k] + data[i : min(j, i + 64)] + data[k + 8 :]
        elif kind == "fill":
            data = data[:i] + bytes(rng.choice((0, 255, 34, 91, 123))) + data[i:]
    return data


def damaged_value(value: Any, rng: random.Random) -> Any:
    """Return a copy of JSON-ready data with one fault: a value, a key or an entry that is other, gone, new or twice."""
    whole = {"": copy.deepcopy(value)}
    places = list(_places(whole))
    holder, key = rng.choice(places)
    kind = rng.choice(("edge", "edge", "edge", "gone", "renamed", "new", "swapped"))
    if kind == "gone" and holder is not whole:
        del holder[key]
    elif kind == "renamed" and isinstance(holder, dict) and holder is not whole:
        holder[f"{key}x"] = holder.pop(key)
    elif kind == "new" and isinstance(holder, dict) and holder is not whole:
        holder[rng.choice(("x", "", "name", "__class__"))] = rng.choice(EDGES)
    elif kind == "swapped":
        other, at = rng.choice(places)
        holder[key] = copy.deepcopy(other[at])
    else:
        holder[key] = rng.choice(EDGES)
    return whole.get("")


def dumped(value: Any) -> bytes:
    """Return JSON, with NaN and with half surrogates as escapes, as others may write it."""
    return json.dumps(value).encode()


def _places(value: Any) -> Any:
    """Yield every container and key of nested data."""
    for key in value if isinstance(value, dict) else range(len(value)):
        yield value, key
        if isinstance(value[key], dict | list):
            yield from _places(value[key])
