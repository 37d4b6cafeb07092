"""A name that goes works as before, and says once a place what to use."""

from __future__ import annotations

import importlib
import sys
import types
import warnings

import pytest

from embrm.core.deprecation import RemovalWarning, deprecated, deprecated_names
from embrm.core.faces import lazily


@deprecated(instead="sum", removed_in="0.3")
def total(first: int, *, second: int) -> int:
    """Add."""
    return first + second


def test_a_function_works_and_warns_where_it_is_called() -> None:
    with pytest.warns(RemovalWarning, match=r"test_deprecation\.total goes with embrm 0\.3; use sum") as caught:
        assert total(1, second=2) == 3
    assert [warning.filename for warning in caught] == [__file__]
    assert (total.__name__, total.__doc__) == ("total", "Add.")


def test_a_name_that_moved_is_found_where_it_is_now(monkeypatch: pytest.MonkeyPatch) -> None:
    attic = types.ModuleType("attic")
    find = deprecated_names("attic", {"Old": "embrm.core.data.Pairs"}, removed_in="0.3", otherwise=lazily("attic", {}))
    monkeypatch.setattr(attic, "__getattr__", find, raising=False)
    monkeypatch.setitem(sys.modules, "attic", attic)
    with pytest.warns(RemovalWarning, match=r"attic\.Old goes with embrm 0\.3; use embrm\.core\.data\.Pairs") as caught:
        found = attic.Old
    assert found is importlib.import_module("embrm.core.data").Pairs
    assert [warning.filename for warning in caught] == [__file__]
    with pytest.raises(AttributeError, match="module 'attic' has no attribute 'Older'"):
        _ = attic.Older


def test_everybody_sees_it_under_the_usual_filters() -> None:
    library = types.ModuleType("library")  # neither __main__ nor a test: what hides a DeprecationWarning
    library.__dict__["total"] = total
    with warnings.catch_warnings(record=True) as caught:
        warnings.resetwarnings()
        for ignored in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", ignored)  # Python's own
        exec("total(1, second=2)", library.__dict__)
    assert [warning.category for warning in caught] == [RemovalWarning]
