"""Names → modules. A family's file names are its public names; listing them imports nothing."""

from __future__ import annotations

import ast
import dataclasses
import importlib
import importlib.util
import warnings
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from embrm.core.names import suggestion
from embrm.errors import EmbrmError, PluginError, UnknownNameError

T = TypeVar("T")
R = TypeVar("R")
_registered: dict[str, type[Any]] = {}


class PluginWarning(UserWarning):
    """A package offers a plug-in that is left out; the message names the package and says what to do."""


def register(cls: type[T]) -> type[T]:
    """Class decorator: make `cls` what its module offers under the module's file name."""
    other = _registered.get(cls.__module__)
    if other is not None and other.__qualname__ != cls.__qualname__:
        raise EmbrmError(f"{cls.__module__} registers {other.__qualname__} and {cls.__qualname__}; keep one a file")
    _registered[cls.__module__] = cls
    return cls


class Registry(Generic[T]):
    """The members of one family: the modules of a package, and the entry points of others under the same name.

    What is wrong with a plug-in concerns that plug-in alone. A member of the package is never replaced by one; a name
    that two packages offer belongs to neither.

    Args:
        kind: what a member is called in messages ("head").
        package: dotted name of the family's package, which is also its entry-point group.
        path: the package's folder.
        required: the methods that a member has.
        group: the entry-point group, where that is not the package's name.
    """

    def __init__(self, kind: str, package: str, path: str, required: Sequence[str] = (), *, group: str = "") -> None:
        self.kind = kind
        self.package = package
        self.group = group or package
        self.required = tuple(required)
        self._folder = Path(path)
        self._loaded: dict[str, type[Any]] = {}

    @cached_property
    def _inside(self) -> frozenset[str]:
        return frozenset(f.stem for f in self._folder.glob("*.py") if not f.stem.startswith("_"))

    @cached_property
    def _outside(self) -> dict[str, EntryPoint]:
        """The plug-ins that can be told from others by their names; a warning names the rest."""
        offered: dict[str, list[EntryPoint]] = defaultdict(list)
        for point in entry_points(group=self.group):
            offered[point.name].append(point)
        for name in sorted(offered):
            points = offered[name]
            if name in self._inside:
                taken = "which embrm has itself"
            elif len(points) > 1:
                taken = "which several packages do"
            else:
                continue
            owners = " and ".join(sorted({owner_of(point) for point in points}))
            warnings.warn(
                f"{owners}: registers the {self.kind} '{name}', {taken}, and is left out; rename it in the package's "
                "entry points, or uninstall the package",
                PluginWarning,
                stacklevel=4,
            )
            del offered[name]
        return {name: points[0] for name, points in offered.items()}

    def names(self) -> list[str]:
        """Return all names, sorted, without importing any member."""
        return sorted(self._inside | set(self._outside))

    def check(self, name: str) -> None:
        """Make sure, without importing it, that there is a member of that name.

        Raises:
            UnknownNameError: there is none; the message suggests the nearest.
        """
        if name not in self.names():
            raise UnknownNameError(f"no {self.kind} named '{name}'. {suggestion(name, self.names())}")

    def get(self, name: str) -> Callable[..., T]:
        """Import and return the class of that name.

        Raises:
            UnknownNameError: see `check`.
            PluginError: it is a package's plug-in, which cannot be imported or is no such member.
            EmbrmError: the module of that name registers nothing.
        """
        self.check(name)
        if name in self._outside:
            if name not in self._loaded:
                self._loaded[name] = self._load(self._outside[name])
            return self._loaded[name]
        module = f"{self.package}.{name}"
        importlib.import_module(module)
        if module not in _registered:
            raise EmbrmError(f"{module} registers no {self.kind}; put @register above its class")
        return _registered[module]

    def _load(self, point: EntryPoint) -> type[Any]:
        owner = f"{owner_of(point)}: the {self.kind} '{point.name}' ({point.value})"
        try:
            cls = point.load()
        except Exception as error:  # a stranger's module may raise anything
            raise PluginError(
                f"{owner} cannot be imported ({type(error).__name__}: {error}); repair the package, or uninstall it"
            ) from error
        if not (isinstance(cls, type) and dataclasses.is_dataclass(cls)):
            raise PluginError(f"{owner} is no dataclass; put @dataclass(frozen=True, kw_only=True) above its class")
        abstract: frozenset[str] = getattr(cls, "__abstractmethods__", frozenset())
        missing = [method for method in self.required if method in abstract or not hasattr(cls, method)]
        if missing:
            raise PluginError(
                f"{owner} has no {' and no '.join(missing)}; a {self.kind} needs {', '.join(self.required)}: add what "
                "is missing, or uninstall the package"
            )
        return cls

    def told(self, name: str, call: Callable[[], R]) -> R:
        """Return what a member gives when it is called; what a plug-in raises is told with its package.

        Raises:
            PluginError: a plug-in raised something that is not of embrm.
        """
        try:
            return call()
        except Exception as error:  # a stranger's code may raise anything
            if isinstance(error, EmbrmError) or name not in self._outside:
                raise
            raise PluginError(
                f"{owner_of(self._outside[name])}: the {self.kind} '{name}' failed ({type(error).__name__}: {error}); "
                "repair the package, or uninstall it"
            ) from error

    def find_name(self, member: object) -> str | None:
        """Return the name under which the class of `member` stands here, or None where it does not."""
        cls = type(member)
        module, _, name = cls.__module__.rpartition(".")
        if module == self.package and name in self._inside:
            return name
        for name, point in self._outside.items():
            if self._loaded.get(name) is cls or point.value.replace(":", ".") == f"{cls.__module__}.{cls.__qualname__}":
                return name
        return None

    def name_of(self, member: object) -> str:
        """Return the name under which the class of `member` stands here, or else that of its module."""
        return self.find_name(member) or type(member).__module__.rpartition(".")[2]

    def describe(self, name: str) -> str:
        """Return the first line of the member's docstring, read from its source without running it."""
        wanted, source = "", self._folder / f"{name}.py"
        if name in self._outside:
            point = self._outside[name]
            wanted = point.attr
            try:
                spec = importlib.util.find_spec(point.module)
            except Exception as error:  # finding a module imports the package around it
                return f"Cannot be imported ({type(error).__name__}: {error}); repair or uninstall {owner_of(point)}."
            if spec is None or spec.origin is None:
                return f"Cannot be imported (no module {point.module}); repair or uninstall {owner_of(point)}."
            source = Path(spec.origin)
        if source.suffix != ".py":
            return ""
        for node in ast.parse(source.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and (node.name == wanted or (not wanted and _is_registered(node))):
                return (ast.get_docstring(node) or "").partition("\n")[0]
        return ""


def _is_registered(node: ast.ClassDef) -> bool:
    return any(isinstance(d, ast.Name) and d.id == "register" for d in node.decorator_list)


def owner_of(point: EntryPoint) -> str:
    """Return the words by which messages name the package of a plug-in."""
    return f"package '{point.dist.name}' {point.dist.version}" if point.dist else f"entry point {point.value}"
