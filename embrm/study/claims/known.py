"""Which claims there are: this package's, and those that other packages enter through `embrm.claims`."""

from __future__ import annotations

import importlib
import sys
import warnings
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import TYPE_CHECKING

from embrm.core.names import suggestion
from embrm.core.registry import PluginWarning, owner_of
from embrm.errors import UnknownNameError
from embrm.study.claims._shipped import MODULES, PACKAGE, shipped

if TYPE_CHECKING:
    from embrm.study.claims.define import Claim

GROUP = "embrm.claims"


def names() -> list[str]:
    """Return the ids of all claims: this package's by their numbers, then those of other packages.

    >>> names()[:3]
    ['C1', 'C2', 'C3']
    """
    return [*shipped(), *sorted(_strangers())]


def describe(name: str) -> str:
    """Return a claim's sentence.

    Raises:
        UnknownNameError: there is no such claim.
    """
    own = shipped().get(name)
    return own.text if own else get(name).text


def get(name: str) -> Claim:
    """Return a claim by its id.

    Raises:
        UnknownNameError: there is no such claim.
    """
    if name not in names():
        raise UnknownNameError(f"no claim named '{name}'. {suggestion(name, names())}")
    return _entered()[name] if name in shipped() else _strangers()[name]


@cache
def _entered() -> Mapping[str, Claim]:
    """Import this package's claims, and return the table that claims are entered into."""
    for module in MODULES:
        importlib.import_module(f"{PACKAGE}.{module}")
    table: Mapping[str, Claim] = importlib.import_module(f"{PACKAGE}.define").CLAIMS
    return table


def _strangers() -> Mapping[str, Claim]:
    """Return the claims that are not this package's; where nobody entered any, nothing is imported."""
    if not _plugins() and f"{PACKAGE}.define" not in sys.modules:
        return {}
    table = _entered()
    return {name: table[name] for name in table if name not in shipped()}


@cache
def _plugins() -> tuple[EntryPoint, ...]:
    """Import what other packages offer, and warn of what has to be left out; the rest stays."""
    points = tuple(entry_points(group=GROUP))
    for fault in [fault for point in points if (fault := _fault(point))]:
        warnings.warn(fault, PluginWarning, stacklevel=2)
    return points


def _fault(point: EntryPoint) -> str:
    """Import a plug-in, and return why it cannot be used, or an empty text."""
    owner = owner_of(point)
    try:
        point.load()
    except Exception as error:  # a stranger's module may raise anything
        why = f"{type(error).__name__}: {error}"
        return f"{owner}: its claims ({point.value}) cannot be entered ({why}); repair the package, or uninstall it"
    modules = [claim.measure.__module__ for name, claim in _entered().items() if name not in shipped()]
    if not any(f"{module}.".startswith(f"{point.module}.") for module in modules):
        return (
            f"{owner}: {point.value} enters no claim; put @claim from embrm.study.claims above its functions, or take "
            f"it out of the package's entry points '{GROUP}'"
        )
    return ""
