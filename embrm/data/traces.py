"""A file of labelled steps and an embedder → traces as the vectors of their prefixes."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embrm.core.traces import StepTraces
from embrm.data.faults import RowRules
from embrm.data.read import as_candidates
from embrm.data.texts import Texts, read_texts
from embrm.embedders import Embedder


def read_traces(
    source: str | Path,
    *,
    embedder: str | Embedder = "minilm",
    features: npt.ArrayLike | str | Path | None = None,
    views: Iterable[str] = ("joint",),
    progress: bool = False,
    **how: Any,
) -> StepTraces:
    """Read labelled steps in any layout that gives traces, such as TRL's stepwise rows or first-error annotations.

    The text of a prefix is its steps, a line each, in answer to the prompt.

    Args:
        source: what `read_pairs` reads.
        embedder: a name or a recipe.
        features: vectors made elsewhere, one row a prefix in the order of the file, or the path of such a file.
        views: what will be read, see `encode`.
        progress: whether to show a progress bar.
        how: fields of `RowRules`, such as `columns` or `on_bad_row`.

    Raises:
        DataError: the file holds no steps, a row has not one label a step, or a first error is no step of its row.
    """
    texts = read_texts(source, kind="traces", rules=RowRules(**how))
    return as_traces(texts, embedder=embedder, features=features, views=views, progress=progress)


def as_traces(texts: Texts, **reading: Any) -> StepTraces:
    """Turn the texts of traces into vectors; see `read_traces`."""
    pools = as_candidates(texts, **reading)
    labels = [np.nan if label is None else float(label) for row in texts.rows.values for label in row["labels"]]
    return StepTraces(pools.features, pools.offsets, np.array(labels))
