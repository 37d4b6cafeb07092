"""Where the selectors are found by the names of their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from embrm.core.registry import Registry

registry: Registry[Any] = Registry("selector", "embrm.selectors", str(Path(__file__).parent), required=("__call__",))
