"""Who watches sees the outermost of the long loops, and nobody pays for it where nobody watches."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embrm import detectors, heads
from embrm.core.files import write_rows
from embrm.core.progress import tracked, watching
from embrm.data.stream import stream_texts
from embrm.data.texts import read_texts
from embrm.heads.linear import GRID
from embrm.metrics.intervals import bootstrap
from tests.planted import planted


class Seen(list[tuple[str, int | None, int]]):
    """Each loop that was watched: what, how many, and how many of them came."""

    def __call__(self, items: Iterable[Any], what: str, total: int | None) -> Iterable[Any]:
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
        for _ in tracked("a", "one"):
            assert list(tracked("ab", "inside")) == ["a", "b"]
        assert list(tracked([], "none")) == []
    assert seen == [("outer", 3, 3), ("left", 3, 2), ("failed", 3, 1), ("inside", 2, 2), ("none", 0, 0)]


def test_chunks_of_scored_rows_are_watched() -> None:
    seen, model = Seen(), heads.get("linear")(prior_precision=1.0).fit(planted(width=4, pairs=60)[0], seed=0)
    with watching(seen):
        model.score(np.zeros((30, 4)), chunk=10)
        model.score(np.zeros((30, 4)))
    assert seen == [("chunks", 3, 3)]


def test_permutations_and_resamples_are_watched_to_their_end() -> None:
    seen, x = Seen(), np.random.default_rng(0).normal(size=(40, 2))
    with watching(seen):
        detectors.get("mmd")().fit(x[:20], seed=0).check(x[20:])
        bootstrap(np.tile(x, (50, 1)), seed=0)  # enough prompts for more than one block of resamples
    assert [(what, bool(total), total == came) for what, total, came in seen] == [
        ("permutations", True, True),
        ("resamples", True, True),
    ]


@pytest.mark.parametrize("name", ["f.jsonl", "f.json", "f.csv", "f.parquet"])
def test_reading_is_watched_to_its_end(name: str, tmp_path: Path) -> None:
    rows = [{"prompt": f"p {i}", "chosen": f"good {i}", "rejected": f"bad {i}"} for i in range(300)]
    if name == "f.json":
        (tmp_path / name).write_text(json.dumps(rows))
    elif name == "f.csv":
        lines = [",".join(rows[0]), *(",".join(row.values()) for row in rows)]
        (tmp_path / name).write_text("\n".join(lines) + "\n")
    elif name == "f.parquet":
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / name)
    else:
        write_rows(tmp_path / name, rows)
    seen = Seen()
    with watching(seen):
        read_texts(tmp_path / name, kind="pairs")
        blocks = list(stream_texts(tmp_path / name, kind="pairs", size=200)) if name in ("f.jsonl", "f.parquet") else []
    first, turned, *more = seen
    assert turned == ("rows", 300, 300)
    if name == "f.parquet":  # how many batches a file has is seen when they are read
        assert first == ("batches of rows", None, 2)
    else:
        assert first[0] in ("lines", "rows")
        assert first[1] is not None
        assert 300 <= first[2] <= first[1] <= 302
    assert [len(block) for block in blocks] == ([400, 200] if blocks else [])
    assert more == ([("blocks of rows", None, 2)] if blocks else [])


@pytest.mark.parametrize(
    ("name", "what", "total", "options"),
    [
        ("laplace", "prior precisions", None, {}),
        ("laplace", "Newton steps", None, {"prior_precision": 1.0}),
        ("linear", "priors", len(GRID), {}),
        ("hmc", "chains", 2, {"draws": 200, "warmup": 100, "chains": 2, "components": 2}),
        ("max_margin", "members", 2, {"members": 2}),
        ("boosting", "members", 2, {"members": 2, "iterations": 2}),
        ("mlp", "epochs", 3, {"epochs": 3, "patience": 0}),
    ],
)
def test_fits_are_watched(name: str, what: str, total: int | None, options: dict[str, Any]) -> None:
    seen = Seen()
    with watching(seen):
        heads.get(name)(**options).fit(planted(width=4, pairs=60)[0], seed=0)
    assert (what, total) in [loop[:2] for loop in seen]
    assert all(came for _, _, came in seen)
