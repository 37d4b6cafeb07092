"""Names out of files as charts may have them: what draws charts keeps them as keys of JavaScript's objects."""

from __future__ import annotations

from typing import Any

from embrm.core.visible import replaced

# What every object of JavaScript has before anybody gave it anything: as a key it finds that instead of nothing.
_MEMBERS = {
    *("constructor", "hasOwnProperty", "isPrototypeOf", "propertyIsEnumerable", "toLocaleString", "toString"),
    *("valueOf", "__proto__", "__defineGetter__", "__defineSetter__", "__lookupGetter__", "__lookupSetter__"),
}
_UNSEEN = "\u200b"  # a space without width


def drawable(values: Any) -> Any:
    """Return JSON-ready values in which every text, also as a key, can be drawn and looked up, and reads the same."""
    if isinstance(values, str):
        return values + _UNSEEN if values in _MEMBERS else replaced(values)
    if isinstance(values, dict):
        return {drawable(key): drawable(value) for key, value in values.items()}
    return [drawable(value) for value in values] if isinstance(values, list | tuple) else values
