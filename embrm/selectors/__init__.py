"""The selectors, found by the names of their files: `names()`, `get(name)`, `describe(name)`.

A selector is a stateless rule from a reward to a choice in each pool; it knows no head, gets a penalty as numbers, and
owns its curve. A rule of one's own derives from `ValueRule` or `RandomRule`, or has what `Selector` lists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from embrm.core.faces import lazily
from embrm.core.registry import Registry
from embrm.selectors._registry import registry as _members

if TYPE_CHECKING:
    from embrm.selectors._choosing import (
        argmax_share,
        choose_largest,
        generator,
        pool_of,
        require_members,
        require_several,
        served,
    )
    from embrm.selectors._selector import RandomRule, Selector, ValueRule

registry: Registry[Selector] = _members
names, get, describe = registry.names, registry.get, registry.describe

__getattr__ = lazily(
    __name__,
    {
        "RandomRule": "embrm.selectors._selector",
        "Selector": "embrm.selectors._selector",
        "ValueRule": "embrm.selectors._selector",
        "argmax_share": "embrm.selectors._choosing",
        "choose_largest": "embrm.selectors._choosing",
        "generator": "embrm.selectors._choosing",
        "pool_of": "embrm.selectors._choosing",
        "require_members": "embrm.selectors._choosing",
        "require_several": "embrm.selectors._choosing",
        "served": "embrm.selectors._choosing",
    },
)

__all__ = [
    "RandomRule",
    "Selector",
    "ValueRule",
    "argmax_share",
    "choose_largest",
    "describe",
    "generator",
    "get",
    "names",
    "pool_of",
    "registry",
    "require_members",
    "require_several",
    "served",
]
