"""Two small files in the form that users bring: preferences and pools, from hand-written, hand-rated answers."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from embrm.core.files import read_rows, write_rows

SOURCE = "answers.jsonl"
FILES = ("prefs.jsonl", "pools.jsonl")
FOR_POOLS = 12  # prompts that become pools; the preferences are about the others
EACH = 10  # pairs a prompt
GAP = 1.0  # by how much two ratings must differ to be a preference


def write_answers(folder: Path, *, seed: int) -> None:
    """Write `prefs.jsonl` (TRL's columns) and `pools.jsonl` (with gold) beside `answers/answers.jsonl`, from it."""
    folder = folder / "answers"
    rows = read_rows(folder / SOURCE).values
    write_rows(folder / FILES[0], [pair for row in rows[:-FOR_POOLS] for pair in _pairs(row, seed=seed)])
    write_rows(folder / FILES[1], rows[-FOR_POOLS:])


def _pairs(row: dict[str, Any], *, seed: int) -> list[dict[str, str]]:
    gold, texts = row["gold"], row["responses"]
    clear = [
        (i, j) if gold[i] > gold[j] else (j, i)
        for i, j in combinations(range(len(gold)), 2)
        if abs(gold[i] - gold[j]) >= GAP
    ]
    rng = np.random.default_rng([seed, *row["id"].encode()])
    drawn = rng.permutation(len(clear))[:EACH]
    return [{"prompt": row["prompt"], "chosen": texts[i], "rejected": texts[j]} for i, j in (clear[d] for d in drawn)]
