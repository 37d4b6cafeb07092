"""A data set by its configuration."""

from __future__ import annotations

from collections.abc import Mapping

from embrm.study.config import DatasetConfig
from embrm.study.datasets.base import Dataset
from embrm.study.datasets.generated import LanguageModelData
from embrm.study.datasets.pool import FileData, PoolData
from embrm.study.datasets.world import WorldData

KINDS: Mapping[str, type[Dataset]] = {
    "world": WorldData,
    "pool": PoolData,
    "files": FileData,
    "language_model": LanguageModelData,
}


def open_dataset(config: DatasetConfig) -> Dataset:
    """Open a data set; a language model writes its pool when it is first opened.

    Raises:
        DataError: a file is absent or not what it should be.
        OptionError: an option of the embedder, the policy or the gold cannot be.
        UnknownNameError: no embedder has that name.
    """
    return KINDS[config.kind].open(config)


def identify(config: DatasetConfig) -> str:
    """Return the hash of what a data set holds, without reading its vectors.

    Raises:
        DataError: a file is absent.
        OptionError: see `open_dataset`.
    """
    return KINDS[config.kind].identify(config)
