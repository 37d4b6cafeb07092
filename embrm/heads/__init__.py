"""The heads, found by the names of their files: `names()`, `get(name)`, `describe(name)`."""

from embrm.heads._head import Head
from embrm.heads._hub import from_pretrained
from embrm.registry import Registry

registry: Registry[Head] = Registry("head", __name__, __path__[0])
names, get, describe = registry.names, registry.get, registry.describe

__all__ = ["Head", "describe", "from_pretrained", "get", "names", "registry"]
