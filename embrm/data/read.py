"""A file and an embedder → pairs of preferences, or pools of candidates, as vectors."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import IntArray
from embrm.core.data import Candidates, Features, Pairs, Provenance
from embrm.core.seen import TextHashes
from embrm.core.views import PRINCIPLE, needed
from embrm.data.clusters import clusters
from embrm.data.columns import annotators, gold, numbers
from embrm.data.encode import encode
from embrm.data.faults import ReadingWarning, RowRules
from embrm.data.texts import Texts, number_prompts, read_texts
from embrm.embedders import Embedder
from embrm.errors import DataError, OptionError


def read_pairs(
    source: str | Path,
    *,
    embedder: str | Embedder = "minilm",
    features: npt.ArrayLike | str | Path | None = None,
    views: Iterable[str] = ("joint",),
    progress: bool = False,
    **how: Any,
) -> Pairs:
    """Read preference pairs in any layout that `embrm.data.layouts` knows, such as TRL's columns.

    There a row has `chosen` and `rejected`, and `prompt` or a beginning that both share; each is text or a list of
    messages. `weight`, `margin` (numbers) and `tie` (true or false) are used where they are given, and
    `annotators`, a list of "chosen", "rejected" and "tie": then a pair becomes one of each verdict, with its share
    as weight. `annotator` is the name or number of who judged the pair. `principle` says by what it was judged; heads
    of a view such as "joint+principle" read it. A text that stands in several pairs of one prompt becomes one row
    of the features. Pairs whose texts became one vector are left out. A column `cluster` says which prompts belong
    together, such as those of a conversation or a source.

    Args:
        source: what `embrm.core.files.read_rows` reads.
        embedder: a name or an embedder.
        features: vectors `(2 n, d)` made elsewhere, or the file that holds them (see `embrm.core.vectors`), in the
            order chosen, rejected of each pair; the texts are then not embedded.
        views: what will be read of the texts, as `embrm.data.encode` takes it: "joint", "joint+response+length" and so
            on; the vectors that it takes are made.
        progress: whether to show a progress bar.
        how: fields of `embrm.data.RowRules`, such as `columns={"chosen": "winner"}`, `layout="shp"`,
            `on_bad_row="skip"`.

    Raises:
        DataError: a column is missing, rows are not what they should be (their lines are named), or the two responses
            of a pair are equal.
        OptionError: `how` names a column that is not there.
    """
    texts = read_texts(source, kind="pairs", rules=RowRules(**how))
    return as_pairs(texts, embedder=embedder, features=features, views=views, progress=progress)


def read_candidates(
    source: str | Path,
    *,
    embedder: str | Embedder = "minilm",
    features: npt.ArrayLike | str | Path | None = None,
    views: Iterable[str] = ("joint",),
    progress: bool = False,
    **how: Any,
) -> Candidates:
    """Read pools of candidates: rows `{id, prompt, responses[], gold[]?, policy[]?}`, or a layout that gives such.

    Args:
        source: see `read_pairs`.
        embedder: see `read_pairs`.
        features: vectors `(m, d)` made elsewhere, or their file, one a response in the order of the file.
        views: see `read_pairs`.
        progress: see `read_pairs`.
        how: see `read_pairs`.

    Raises:
        DataError: a column is missing, an id is used twice, a pool is empty, or `gold` or `policy` does not give one
            entry a response.
    """
    texts = read_texts(source, kind="pools", rules=RowRules(**how))
    return as_candidates(texts, embedder=embedder, features=features, views=views, progress=progress)


def read(
    source: str | Path,
    *,
    embedder: str | Embedder = "minilm",
    features: npt.ArrayLike | str | Path | None = None,
    views: Iterable[str] = ("joint",),
    progress: bool = False,
    **how: Any,
) -> Pairs | Candidates:
    """Read whichever of both the columns of the file show; see `read_pairs` and `read_candidates`."""
    texts = read_texts(source, kind="judged", rules=RowRules(**how))
    turn = as_pairs if texts.kind == "pairs" else as_candidates
    return turn(texts, embedder=embedder, features=features, views=views, progress=progress)


def as_pairs(
    texts: Texts,
    *,
    embedder: str | Embedder = "minilm",
    features: npt.ArrayLike | str | Path | None = None,
    views: Iterable[str] = ("joint",),
    progress: bool = False,
) -> Pairs:
    """Turn the texts of pairs into vectors, `features` or those that they have; see `read_pairs`."""
    texts = texts if features is None else texts.with_vectors(features)
    views = needed(views)
    judged = texts.principles if PRINCIPLE in views else texts.responses  # one text under two principles is two rows
    keys = list(zip(number_prompts(texts)[0].tolist(), texts.responses, judged, strict=True))
    if texts.vectors is None:
        number = {key: i for i, key in enumerate(dict.fromkeys(keys))}
        rows = np.array([number[key] for key in keys])
    else:  # vectors made elsewhere stay as they came: equal texts need not have equal ones
        rows = np.arange(len(keys))
    first = np.unique(rows, return_index=True)[1]
    vectors = _features(texts, first, embedder=embedder, views=views, progress=progress)
    tie = numbers(texts.rows, "tie", default=0)
    judges = annotators(texts.rows)
    pairs = Pairs(
        vectors,
        rows[0::2],
        rows[1::2],
        weight=numbers(texts.rows, "weight", default=1),
        margin=numbers(texts.rows, "margin", default=0),
        tie=None if tie is None else tie != 0,
        annotator=np.array(judges) if any(judges) else None,
    )
    if texts.vectors is not None:
        return pairs
    return distinct(pairs, texts.rows.numbers, name=texts.rows.name, unit=texts.rows.unit)


def distinct(pairs: Pairs, places: Sequence[int], *, name: str, unit: str) -> Pairs:
    """Return the pairs whose two texts have different vectors; the others carry no preference, and are named.

    Args:
        pairs: of a file.
        places: number of the line or row of each.
        name: the file, as messages call it.
        unit: what is counted.

    Raises:
        DataError: no pair is left.
    """
    views = [m for view, m in pairs.features.views.items() if view != "prompt"]
    if not views:
        return pairs
    same = np.logical_and.reduce([(m[pairs.chosen] == m[pairs.rejected]).all(axis=1) for m in views])
    lost = np.flatnonzero(same)
    if not lost.size:
        return pairs
    listed = ", ".join(str(places[i]) for i in lost[:10]) + (", …" if len(lost) > 10 else "")
    what = (
        f"{len(lost)} of {len(pairs)} pairs of {name} ({unit} {listed}) have two texts that "
        f"become one vector, as where they differ only beyond what the embedder reads; they carry no preference"
    )
    hint = "long_text=chunks (--embedder-set) reads long texts to their ends"
    if len(lost) == len(pairs):
        raise DataError(f"{what}; {hint}")
    warnings.warn(f"{what} and were left out; {hint}", ReadingWarning, stacklevel=3)
    return pairs.take(np.flatnonzero(~same)).compact()


def as_candidates(
    texts: Texts,
    *,
    embedder: str | Embedder = "minilm",
    features: npt.ArrayLike | str | Path | None = None,
    views: Iterable[str] = ("joint",),
    progress: bool = False,
) -> Candidates:
    """Turn the texts of pools into vectors, or any other texts, each row of the file a pool; see `read_candidates`."""
    texts = texts if features is None else texts.with_vectors(features)
    rows = np.arange(len(texts))
    vectors = _features(texts, rows, embedder=embedder, views=views, progress=progress)
    names = [row.get("policy") for row in texts.rows.values] if texts.kind == "pools" else [None]
    policy = None if None in names else [str(name) for pool in names for name in pool or ()]
    values = gold(texts.rows) if texts.kind == "pools" else None
    return Candidates(vectors, texts.offsets, gold=values, policy=policy)


def _features(
    texts: Texts, rows: IntArray, *, embedder: str | Embedder, views: Iterable[str], progress: bool
) -> Features:
    number = number_prompts(texts)[0]
    cluster = clusters(texts, number)
    number, cluster = number[rows], None if cluster is None else cluster[rows]
    prompts, responses = [texts.prompts[i] for i in rows], [texts.responses[i] for i in rows]
    if texts.vectors is not None:
        length = np.array([len(response) for response in responses], dtype=np.float64)
        made = Provenance(keep_system=texts.keep_system)
        given = dict.fromkeys(_one(needed(views)), texts.vectors)
        hashes = TextHashes.of(prompts, responses)
        return Features(given, number, length=length, embedder=made, cluster=cluster, hashes=hashes)
    judged = texts.principles
    done = encode(
        prompts,
        responses,
        embedder=Embedder.of(embedder) if isinstance(embedder, str) else embedder,
        views=views,
        principles=[judged[i] for i in rows],
        prompt=number,
        keep_system=texts.keep_system,
        progress=progress,
    )
    done.warn()
    return replace(done.features, cluster=cluster)


def _one(views: Sequence[str]) -> Sequence[str]:
    if len(views) > 1:
        raise OptionError(
            f"vectors made elsewhere are those of one view, and {', '.join(views)} are to be read; let the texts be "
            "embedded, or in Python give Features(views={...})"
        )
    return views
