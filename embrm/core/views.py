"""Views of texts that are made of others: several side by side, prompts crossed with responses, the length."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from embrm.core.arrays import Array
from embrm.errors import DataError, OptionError

CROSSED = "crossed"  # of the views "prompt" and "response", see `embrm.heads.gradient.rows`
LENGTH = "length"  # log(1 + characters) of the response, one column


def parts(view: str) -> tuple[str, ...]:
    """Return the views that stand side by side in a view: "joint+length" has two, and a plain one is its only part.

    Raises:
        OptionError: a part has no name, or stands there twice.
    """
    found = tuple(view.split("+"))
    if "" in found or len(set(found)) < len(found):
        raise OptionError(f"a view is made of different views with '+' between them, as joint+length, got '{view}'")
    return found


def needed(views: Iterable[str]) -> tuple[str, ...]:
    """Return the views of which vectors must be made so that the given ones can be read, each once; lengths need none.

    Raises:
        OptionError: see `parts`.
    """
    vectors = {LENGTH: (), CROSSED: ("prompt", "response")}
    return tuple(dict.fromkeys(name for view in views for part in parts(view) for name in vectors.get(part, (part,))))


def made(view: str, known: Iterable[str], *, length: Array | None, matrix: Callable[[str], Array]) -> Array:
    """Return a view `(m, d)` that is made of others or of the lengths.

    Args:
        view: what is asked for.
        known: the views that there are.
        length: `(m,)` characters of the responses, or None.
        matrix: what gives a part.

    Raises:
        DataError: it is made of nothing that there is.
        OptionError: see `parts`.
    """
    if len(names := parts(view)) > 1:
        return np.concatenate([matrix(name) for name in names], axis=1)
    if view != LENGTH:
        raise DataError(f"no view '{view}' in these features; they have {', '.join(sorted(known))}")
    if length is None:
        raise DataError("the view 'length' needs the responses' lengths; pass Features(..., length=characters)")
    return np.log1p(length).astype(np.float32)[:, None]
