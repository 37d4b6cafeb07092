"""Files of RewardBench, RM-Bench and JudgeBench, told by their columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embrm.core.files import Rows, read_rows
from embrm.data.prompts import taken_once
from embrm.data.texts import Texts
from embrm.errors import DataError
from embrm.integrations._bench import ALL, Bench

FORMS = (
    "RewardBench's rows have prompt, chosen, rejected and subset, RM-Bench's prompt, chosen, rejected and domain, "
    "JudgeBench's question, response_A, response_B and label"
)
STYLES = 3  # of each response in RM-Bench


@dataclass(frozen=True)
class _Row:
    prompt: str
    good: list[str]
    bad: list[str]
    subset: str
    kind: str = ""  # of a row of Ties: ref or tied
    tie: int = -1


def read_bench(source: str | Path, *, keep_system: bool = False) -> Bench:
    """Read a file of RewardBench 1 (2403.13787) or 2 (2506.01937), RM-Bench (2410.16184) or JudgeBench (2410.12784).

    It is told by the columns of its first row. RewardBench 1 has `prompt`, `chosen`, `rejected`, `subset` (also the
    prior sets, whose prompts are lists of messages); without `prompt` the responses are whole conversations that begin
    alike. In version 2 `chosen` and `rejected` are lists of texts, and a row of Ties has the id `ref:N` or `tied:N`.
    RM-Bench has lists of three styles, plain to rich, and `domain` for the subset. JudgeBench has `question`,
    `response_A`, `response_B`, a `label` A>B or B>A, and `source` for the subset. Where no row names a subset, all are
    of one that is called "all". System turns stay in prompts where `keep_system` says so.

    Raises:
        DataError: a column is missing, or a row is not what its set needs (its line is named).
    """
    rows = read_rows(source)
    name = _form(rows.values[0])
    column = {"RM-Bench": "domain", "JudgeBench": "source"}.get(name, "subset")
    named = any(row.get(column) is not None for row in rows.values)
    found: list[_Row] = []
    cluster: list[int] = []
    number: dict[object, int] = {}
    seen: set[tuple[str, int]] = set()
    for i in range(len(rows)):
        if named and rows.values[i].get(column) is None:
            raise DataError(f"{rows.where(i)} has no '{column}', and other rows have one; {FORMS}")
        row = _row(rows, i, name, str(rows.values[i][column]) if named else ALL, keep_system)
        if row.kind and (row.kind, row.tie) in seen:
            raise DataError(
                f"{rows.where(i)}: the id {row.kind}:{row.tie} was used before; each row of Ties has its own"
            )
        seen.add((row.kind, row.tie))
        found.append(row)
        cluster.append(number.setdefault(("tie", row.tie) if row.kind else row.prompt or ("row", i), len(number)))
    sizes = [len(row.good) + len(row.bad) for row in found]
    prompts = [row.prompt for row, size in zip(found, sizes, strict=True) for _ in range(size)]
    responses = [text for row in found for text in (*row.good, *row.bad)]
    return Bench(
        name,
        Texts("pools", rows, prompts, responses, np.concatenate([[0], np.cumsum(sizes)])),
        np.array([len(row.good) for row in found]),
        [row.subset for row in found],
        np.array([row.tie for row in found]),
        np.array([row.kind == "ref" for row in found]),
        np.array(cluster),
    )


def _form(row: Mapping[str, Any]) -> str:
    if "response_A" in row or "response_B" in row:
        return "JudgeBench"
    chosen, rejected = row.get("chosen"), row.get("rejected")
    if not _are_texts(chosen):
        return "RewardBench 1"
    if "subset" not in row and _are_texts(rejected) and [len(chosen or ()), len(rejected or ())] == [STYLES] * 2:
        return "RM-Bench"
    return "RewardBench 2"


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(text, str) for text in value)


def _row(rows: Rows, i: int, name: str, subset: str, keep_system: bool) -> _Row:
    row, where = rows.values[i], rows.where(i)
    if name == "JudgeBench":
        prompt, good, bad = _judged(rows, i)
    else:
        for column in ("chosen", "rejected"):
            if row.get(column) is None:
                raise DataError(f"{where} has no '{column}'; {FORMS}")
        prompt, good, bad = row.get("prompt"), row["chosen"], row["rejected"]
    if name in ("RewardBench 1", "JudgeBench"):
        good, bad = [good], [bad]
    for column, texts in (("chosen", good), ("rejected", bad)):
        if name in ("RewardBench 2", "RM-Bench") and not _are_texts(texts):
            raise DataError(
                f"{where}: {column} must be a list of at least one text, as in the first row, which has the "
                f"form of {name}"
            )
        if name == "RM-Bench" and len(texts) != STYLES:
            raise DataError(
                f"{where}: {column} must hold {STYLES} styles, plain to rich, as in RM-Bench; got {len(texts)}"
            )
    kind, tie = "", -1
    if name == "RewardBench 2" and subset.lower() == "ties":
        subset, (kind, tie) = "Ties", _tie(row, where)
    if name == "RewardBench 2" and not kind and len(good) != 1:
        raise DataError(f"{where}: a row outside Ties has one chosen response, got {len(good)}")
    asked, responses = _texts(prompt, good, bad, where, keep_system)
    return _Row(asked, responses[: len(good)], responses[len(good) :], subset, kind, tie)


def _texts(prompt: Any, good: list[Any], bad: list[Any], where: str, keep_system: bool) -> tuple[str, list[str]]:
    names = ["chosen"] * len(good) + ["rejected"] * len(bad)
    try:
        asked, responses = taken_once(prompt, [*good, *bad], names, keep_system=keep_system)
    except DataError as error:
        raise DataError(f"{where}: {error}") from error
    if prompt is None and not asked:
        raise DataError(
            f"{where} has no 'prompt', and chosen and rejected share no beginning that could be one; {FORMS}"
        )
    return asked, responses


def _judged(rows: Rows, i: int) -> tuple[Any, Any, Any]:
    """Return the question, the better response and the worse one of a row of JudgeBench."""
    row, where = rows.values[i], rows.where(i)
    for column in ("question", "response_A", "response_B", "label"):
        if row.get(column) is None:
            raise DataError(f"{where} has no '{column}'; {FORMS}")
    pair = {"A>B": ("response_A", "response_B"), "B>A": ("response_B", "response_A")}.get(str(row["label"]))
    if pair is None:
        raise DataError(f"{where}: label must be A>B or B>A, got {str(row['label'])[:40]!r}")
    return row["question"], row[pair[0]], row[pair[1]]


def _tie(row: Mapping[str, Any], where: str) -> tuple[str, int]:
    kind, _, number = str(row.get("id")).partition(":")
    if kind not in ("ref", "tied") or not number.isdecimal():
        raise DataError(f"{where}: a row of Ties has an id such as ref:3 or tied:3, got {row.get('id')!r}")
    return kind, int(number)
