"""Texts of strangers as they may be shown: nothing in them moves a cursor, turns a line around, or is no character."""

from __future__ import annotations

import re

# Control characters but tab and newline, and what overrides or isolates the direction of the text after it.
_HIDDEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def escaped(text: str) -> str:
    r"""Return the text for a terminal, control characters and directional overrides as escapes.

    >>> print(escaped("a\x1b[31mb\u202ec"))
    a\u001b[31mb\u202ec
    """
    return _HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def replaced(text: str) -> str:
    """Return the text for a page or a figure, each of those as the replacement character.

    >>> replaced("a" + chr(0) + "b") == "a" + chr(0xFFFD) + "b"
    True
    """
    return _HIDDEN.sub("\ufffd", text)
