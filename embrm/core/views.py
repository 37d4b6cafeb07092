"""Views of texts that are made of others: several side by side, crossed with each other or a principle, the length."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from embrm.core.arrays import Array
from embrm.errors import DataError, OptionError

CROSSED = "crossed"  # of the views "prompt" and "response", see `embrm.heads.gradient.rows`
LENGTH = "length"  # log(1 + characters) of the response, one column
PRINCIPLE = "principle"  # what a response is to be judged by; beside others it is crossed with the responses' vectors
JUDGED = ("joint", "response")  # the views that hold a response, and so are crossed with a principle


def parts(view: str) -> tuple[str, ...]:
    """Return the views that stand side by side in a view: "joint+length" has two, and a plain one is its only part.

    Raises:
        OptionError: a part has no name, or stands there twice.
    """
    found = tuple(view.split("+"))
    if "" in found or len(set(found)) < len(found):
        raise OptionError(f"a view is made of different views with '+' between them, as joint+length, got '{view}'")
    return found


def under_principle(view: str) -> tuple[str, tuple[str, ...]] | None:
    """Return a view without its principle, and which of its parts are crossed with it; None where it reads none.

    >>> under_principle("prompt+response+principle")
    ('prompt+response', ('response',))

    Raises:
        OptionError: no part holds a response, a part is none that stands beside principles, or the principle does not
            stand last; see also `parts`.
    """
    names = parts(view)
    if PRINCIPLE not in names:
        return None
    crossed = tuple(name for name in names if name in JUDGED)
    if names[-1] != PRINCIPLE or not crossed or not set(names) <= {*JUDGED, "prompt", LENGTH, PRINCIPLE}:
        raise OptionError(
            "a principle stands last, beside what it is about (joint, prompt, response, length), as joint+principle or "
            f"prompt+response+principle, got '{view}'"
        )
    return "+".join(names[:-1]), crossed


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
        columns = {name: matrix(name) for name in names}
        found = under_principle(view)
        products = [] if found is None else [columns[PRINCIPLE] * columns[name] for name in found[1]]
        return np.concatenate([*columns.values(), *products], axis=1)
    if view != LENGTH:
        raise DataError(f"no view '{view}' in these features; they have {', '.join(sorted(known))}")
    if length is None:
        raise DataError("the view 'length' needs the responses' lengths; pass Features(..., length=characters)")
    return np.log1p(length).astype(np.float32)[:, None]
