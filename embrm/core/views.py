"""Views of texts that are made of others: several side by side, prompts crossed with responses, the length."""

from __future__ import annotations

from collections.abc import Iterable

from embrm.errors import OptionError

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
