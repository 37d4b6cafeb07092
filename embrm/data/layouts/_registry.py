"""Where the layouts are found by the names of their files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from embrm.core.registry import Registry

registry: Registry[Any] = Registry("layout", "embrm.data.layouts", str(Path(__file__).parent))
