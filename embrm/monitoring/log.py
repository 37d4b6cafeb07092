"""The log of any trainer, rows of step, reward, and text or vector, as a run that detectors look at."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from embrm.core.arrays import Array, as_matrix
from embrm.core.files import Rows, read_rows
from embrm.core.trajectory import Step, Trajectory
from embrm.data.chat import prompt_text, response_text, short
from embrm.data.numbers import number
from embrm.errors import DataError

if TYPE_CHECKING:
    from embrm.heads import FittedHead

_TEXTS = ("text", "response", "completion")


def is_log(source: str | Path) -> bool:
    """Say whether a file's first row has a step and a reward."""
    if not Path(source).is_file():
        return False
    try:
        rows = read_rows(source, stop=False).values
    except DataError:
        return False
    return bool(rows) and {"step", "reward"} <= rows[0].keys()


def read_log(source: str | Path, model: FittedHead | None = None) -> Trajectory:
    """Read a log as a run: the rows of one step are its batch.

    Args:
        source: rows with `step` (0, 1, …; equal ones need not stand together), `reward`, `text` (or `response`, or
            `completion`) with its `prompt`, or `vector`, and `gold` where it is known.
        model: whose inputs the vectors are, and then become its latents, if they are as wide as what it reads; others
            are taken for its latents.

    Raises:
        DataError: a row lacks a step, a reward, or text and vector, some rows have vectors and others none, or a number
            is none.
    """
    rows = read_rows(source)
    batches: dict[int, list[int]] = {}
    for i, row in enumerate(rows.values):
        step = row.get("step")
        if isinstance(step, bool) or not isinstance(step, int) or step < 0:
            raise DataError(f"{rows.where(i)}: step must be a whole number from 0 on, got {short(step)}")
        batches.setdefault(step, []).append(i)
    if not batches:
        raise DataError(f"{rows.name} has no row; log a step first")
    vectors = _vectors(rows, model)
    return Trajectory(Path(source), [_step(rows, step, batches[step], vectors) for step in sorted(batches)])


def _step(rows: Rows, step: int, at: list[int], vectors: Array | None) -> Step:
    reward = [number(rows.values[i].get("reward"), f"{rows.where(i)}: reward") for i in at]
    golds = [rows.values[i].get("gold") for i in at]
    known = None not in golds
    gold = (
        [number(value, f"{rows.where(i)}: gold") for i, value in zip(at, golds, strict=True)] if known else [math.nan]
    )
    sample = [_text(rows.values[i], rows.where(i)) for i in at] if vectors is None else []
    latent = None if vectors is None else vectors[at]
    nan = math.nan
    return Step(step, nan, nan, float(np.mean(reward)), float(np.mean(gold)), {}, [], sample, latent)


def _text(row: Mapping[str, Any], where: str) -> dict[str, str]:
    name = next((name for name in _TEXTS if row.get(name) is not None), None)
    if name is None:
        raise DataError(
            f"{where} must have a text or a vector, got {', '.join(row)}; rewards alone cannot tell hacking from "
            "learning, as both raise them: log the `text` (with its `prompt`) or the `vector` that was rewarded"
        )
    prompt = row.get("prompt")
    asked = "" if prompt is None else prompt_text(prompt, f"{where}: prompt")
    return {"prompt": asked, "text": response_text(row[name], f"{where}: {name}")}


def _vectors(rows: Rows, model: FittedHead | None) -> Array | None:
    """Return the vectors `(n, k)` of all rows as latents, or None where they have none."""
    given = [row.get("vector") for row in rows.values]
    missing = [i for i, vector in enumerate(given) if vector is None]
    if len(missing) == len(given):
        return None
    if missing:
        raise DataError(f"{rows.where(missing[0])} has no vector, but other rows have; give one to all or to none")
    try:
        found = np.array(given, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise DataError(f"{rows.name}: vectors must be lists of as many numbers each: {error}") from error
    matrix = as_matrix(found, name=f"the vectors of {rows.name}")
    return model.latent(matrix) if model is not None and matrix.shape[1] == model.width else matrix
