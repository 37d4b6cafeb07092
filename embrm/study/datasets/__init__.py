"""What a study is run on: the shipped world, pools and preferences of the user's, pools that a language model writes.

A file is a kind, found by its name: `names()`, `get(name)`, `describe(name)`. Each opens from one part of the
configuration and identifies itself for the keys of its cells. Other packages' kinds come through the entry points
`embrm.datasets`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from embrm.core.faces import lazily
from embrm.study.datasets._registry import registry

if TYPE_CHECKING:
    from embrm.study.datasets._base import Dataset, identify, kind_of, open_dataset
    from embrm.study.schema import DatasetConfig

names, get, describe = registry.names, registry.get, registry.describe

__getattr__ = lazily(
    __name__,
    {
        "Dataset": "embrm.study.datasets._base",
        "DatasetConfig": "embrm.study.schema",
        "identify": "embrm.study.datasets._base",
        "kind_of": "embrm.study.datasets._base",
        "open_dataset": "embrm.study.datasets._base",
    },
)

__all__ = [
    "Dataset",
    "DatasetConfig",
    "describe",
    "get",
    "identify",
    "kind_of",
    "names",
    "open_dataset",
    "registry",
]
