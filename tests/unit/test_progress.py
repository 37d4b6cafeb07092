"""Who watches sees the outermost of the long loops, and nobody pays for it where nobody watches."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest

from embrm import detectors
from embrm.core.progress import tracked, watching
from embrm.metrics.intervals import bootstrap


class Seen(list[tuple[str, int, int]]):
    """Each loop that was watched: what, how many, and how many of them came."""

    def __call__(self, items: Iterable[Any], what: str, total: int) -> Iterable[Any]:
        self.append((what, total, 0))
        for item in items:
            self[-1] = (what, total, self[-1][2] + 1)
            yield item


def test_unwatched_items_are_what_they_are() -> None:
    items = [1, 2]
    assert tracked(items, "items") is items
    with watching(Seen()), watching(None):
        assert tracked(items, "items") is items


def test_the_outermost_loop_is_watched_also_after_one_that_was_left() -> None:
    seen = Seen()
    with watching(seen):
        for _ in tracked(range(3), "outer"):
            assert list(tracked("ab", "inner")) == ["a", "b"]
        for item in tracked(range(3), "left"):
            if item == 1:
                break
        with pytest.raises(ZeroDivisionError):
            [1 // item for item in tracked(range(3), "failed")]
        assert list(tracked([], "none")) == []
    assert seen == [("outer", 3, 3), ("left", 3, 2), ("failed", 3, 1), ("none", 0, 0)]


def test_permutations_and_resamples_are_watched_to_their_end() -> None:
    seen, x = Seen(), np.random.default_rng(0).normal(size=(40, 2))
    with watching(seen):
        detectors.get("mmd")().fit(x[:20], seed=0).check(x[20:])
        bootstrap(x, seed=0)
    assert [(what, total > 0, total == came) for what, total, came in seen] == [
        ("permutations", True, True),
        ("resamples", True, True),
    ]
