"""Where the kinds of data sets are found by the names of their files, and those of other packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from embrm.core.registry import Registry

registry: Registry[Any] = Registry(
    "kind of data set",
    "embrm.study.datasets",
    str(Path(__file__).parent),
    ("identify", "open", "train", "available", "embedder"),
    group="embrm.datasets",
)
