"""The selectors, found by the names of their files: `names()`, `get(name)`, `describe(name)`."""

from embrm.registry import Registry
from embrm.selectors._selector import Selector

registry: Registry[Selector] = Registry("selector", __name__, __path__[0])
names, get, describe = registry.names, registry.get, registry.describe

__all__ = ["Selector", "describe", "get", "names", "registry"]
