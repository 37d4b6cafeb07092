"""The detectors, found by the names of their files: `names()`, `get(name)`, `describe(name)`."""

from embrm.detectors._detector import Detector
from embrm.registry import Registry

registry: Registry[Detector] = Registry("detector", __name__, __path__[0])
names, get, describe = registry.names, registry.get, registry.describe

__all__ = ["Detector", "describe", "get", "names", "registry"]
