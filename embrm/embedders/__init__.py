"""The embedders, found by the names of their files: `names()`, `get(name)`, `describe(name)`."""

from embrm.embedders._embedder import Embedder
from embrm.registry import Registry

registry: Registry[Embedder] = Registry("embedder", __name__, __path__[0])
names, get, describe = registry.names, registry.get, registry.describe

__all__ = ["Embedder", "describe", "get", "names", "registry"]
