"""The selectors, found by the names of their files: `names()`, `get(name)`, `describe(name)`.

A selector is a stateless rule from a reward to a choice in each pool; it knows no head, and gets a penalty as numbers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from embrm.core.faces import lazily
from embrm.core.registry import Registry
from embrm.selectors._registry import registry as _members

if TYPE_CHECKING:
    from embrm.selectors._selector import RandomRule, Selector, ValueRule

registry: Registry[Selector] = _members
names, get, describe = registry.names, registry.get, registry.describe

__getattr__ = lazily(
    __name__,
    {
        "RandomRule": "embrm.selectors._selector",
        "Selector": "embrm.selectors._selector",
        "ValueRule": "embrm.selectors._selector",
    },
)

__all__ = [
    "RandomRule",
    "Selector",
    "ValueRule",
    "describe",
    "get",
    "names",
    "registry",
]
