"""The layouts in which people keep preferences, found by the names of their files: `names()`, `get(name)`, `describe`.

A layout knows its rows by their columns and turns them into pairs, pools or texts; embedding them is not its business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from embrm.core.faces import lazily
from embrm.core.registry import Registry
from embrm.data.layouts._registry import registry as _members

if TYPE_CHECKING:
    from embrm.data.layouts._find import find_layout, listed, renamed, told_rows
    from embrm.data.layouts._layout import RowLayout

registry: Registry[RowLayout] = _members
names, get, describe = registry.names, registry.get, registry.describe

__getattr__ = lazily(
    __name__,
    {
        "RowLayout": "embrm.data.layouts._layout",
        "find_layout": "embrm.data.layouts._find",
        "listed": "embrm.data.layouts._find",
        "renamed": "embrm.data.layouts._find",
        "told_rows": "embrm.data.layouts._find",
    },
)

__all__ = ["RowLayout", "describe", "find_layout", "get", "listed", "names", "registry", "renamed", "told_rows"]
