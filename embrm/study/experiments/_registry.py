"""Where the experiments are found by the names of their files, and those of other packages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from embrm.core.registry import Registry

registry: Registry[Any] = Registry(
    "experiment",
    "embrm.study.experiments",
    str(Path(__file__).parent),
    ("measure",),
    group="embrm.experiments",
)
