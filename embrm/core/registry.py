"""Names → modules. A family's file names are its public names; listing them imports nothing."""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
from collections.abc import Callable
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from embrm.errors import EmbrmError, UnknownNameError

T = TypeVar("T")
_registered: dict[str, type[Any]] = {}


def register(cls: type[T]) -> type[T]:
    """Class decorator: make `cls` what its module offers under the module's file name."""
    other = _registered.get(cls.__module__)
    if other is not None and other.__qualname__ != cls.__qualname__:
        raise EmbrmError(f"{cls.__module__} registers {other.__qualname__} and {cls.__qualname__}; keep one a file")
    _registered[cls.__module__] = cls
    return cls


class Registry(Generic[T]):
    """The members of one family: the modules of a package, and the entry points of others under the same name.

    Args:
        kind: what a member is called in messages ("head").
        package: dotted name of the family's package, which is also its entry-point group.
        path: the package's folder.
    """

    def __init__(self, kind: str, package: str, path: str) -> None:
        self.kind = kind
        self.package = package
        self._folder = Path(path)

    @cached_property
    def _outside(self) -> dict[str, EntryPoint]:
        return {point.name: point for point in entry_points(group=self.package)}

    def names(self) -> list[str]:
        """Return all names, sorted, without importing any member."""
        files = {f.stem for f in self._folder.glob("*.py") if not f.stem.startswith("_")}
        return sorted(files | set(self._outside))

    def check(self, name: str) -> None:
        """Make sure, without importing it, that there is a member of that name.

        Raises:
            UnknownNameError: there is none; the message suggests the nearest.
        """
        if name not in self.names():
            near = difflib.get_close_matches(name, self.names(), n=1)
            hint = f"Did you mean '{near[0]}'?" if near else f"There are: {', '.join(self.names())}."
            raise UnknownNameError(f"no {self.kind} named '{name}'. {hint}")

    def get(self, name: str) -> Callable[..., T]:
        """Import and return the class of that name.

        Raises:
            UnknownNameError: see `check`.
        """
        self.check(name)
        if name in self._outside:
            cls: Callable[..., T] = self._outside[name].load()
            return cls
        module = f"{self.package}.{name}"
        importlib.import_module(module)
        if module not in _registered:
            raise EmbrmError(f"{module} registers no {self.kind}; put @register above its class")
        return _registered[module]

    def name_of(self, member: object) -> str:
        """Return the name under which the class of `member` is registered."""
        cls = type(member)
        for name, point in self._outside.items():
            if point.value.replace(":", ".") == f"{cls.__module__}.{cls.__qualname__}":
                return name
        return cls.__module__.rpartition(".")[2]

    def describe(self, name: str) -> str:
        """Return the first line of the member's docstring, read from its source without running it."""
        if name in self._outside:
            spec = importlib.util.find_spec(self._outside[name].module)
            source = Path(spec.origin) if spec and spec.origin else None
        else:
            source = self._folder / f"{name}.py"
        if source is None or not source.exists():
            return ""
        for node in ast.parse(source.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and any(
                isinstance(d, ast.Name) and d.id == "register" for d in node.decorator_list
            ):
                return (ast.get_docstring(node) or "").partition("\n")[0]
        return ""
