"""The embedders, found by the names of their files: `names()`, `get(name)`, `describe(name)`.

An embedder turns texts into vectors, once, and keeps them in the cache (`embrm.embedders.cache`); which text it gets is
decided in `embrm.data`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from embrm.core.faces import lazily
from embrm.core.registry import Registry
from embrm.embedders._registry import registry as _members

if TYPE_CHECKING:
    from embrm.embedders._embedder import Embedded, Embedder, check_texts, provenance_of

registry: Registry[Embedder] = _members
names, get, describe = registry.names, registry.get, registry.describe

__getattr__ = lazily(
    __name__,
    {
        "Embedded": "embrm.embedders._embedder",
        "Embedder": "embrm.embedders._embedder",
        "check_texts": "embrm.embedders._embedder",
        "provenance_of": "embrm.embedders._embedder",
    },
)

__all__ = [
    "Embedded",
    "Embedder",
    "check_texts",
    "describe",
    "get",
    "names",
    "provenance_of",
    "registry",
]
