"""Scores of texts: from a model and its embedder, or saved in a file, which needs neither."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, get_args

import numpy as np

from embrm.core.arrays import Array, as_vector, read_npy
from embrm.core.data import Features
from embrm.core.files import read_rows
from embrm.core.results import Kind, Reward
from embrm.data.chat import short
from embrm.data.encode import embedder_of
from embrm.data.faults import RowRules
from embrm.data.read import as_candidates
from embrm.data.texts import Texts
from embrm.errors import DataError, OptionError

if TYPE_CHECKING:
    from embrm.heads import FittedHead

Reading: TypeAlias = Callable[["FittedHead | None"], Mapping[str, Any]]


def own_embedder(model: FittedHead | None) -> Mapping[str, Any]:
    """Return the embedder of a model's training texts, as an argument of `embrm.data.read`.

    Raises:
        OptionError: there is no model, or it knows of no embedder.
    """
    if model is None:
        raise OptionError("saved scores know of no embedder; say what is to embed the texts")
    return {"embedder": embedder_of(model)}


@dataclass(frozen=True, eq=False)
class Scorer:
    """What rewards texts: a saved model with the embedder of its texts, or a file of saved scores.

    Attributes:
        path: the folder of the model, or the file.
        model: the loaded model, or None for a file.
        reading: a model → the arguments of `embrm.data.read` with which texts become vectors for it; a model's own
            embedder unless given.
    """

    path: str
    model: FittedHead | None
    reading: Reading = own_embedder

    @classmethod
    def open(cls, path: str, *, reading: Reading = own_embedder) -> Scorer:
        """Load the model if `path` is a folder; a file is read when texts are scored."""
        from embrm.heads import load_model

        return cls(path, load_model(path) if Path(path).is_dir() else None, reading)

    @property
    def keep_system(self) -> bool:
        """Whether system turns stay in prompts, as they did in the model's training texts."""
        return self.model is not None and self.model.embedder.keep_system

    def rules(self, rules: RowRules) -> RowRules:
        """Return how texts are to be read for the model: as its training texts were, where `rules` leave it open."""
        return rules if self.model is None else rules.like(self.model.embedder)

    def reward(self, texts: Texts) -> Reward:
        """Return the reward of each text, each draw centred on the model's training texts."""
        if self.model is None:
            return read_scores(self.path, texts)
        return self.model.score(self._features(texts, self.model.widths)).centred()

    def vectors(self, texts: Texts, *, space: str, member: int = 0) -> Array:
        """Return the texts `(n, k)` in a space: "latent" (one member's), or a view such as "joint" or "response".

        Raises:
            OptionError: the space is "latent" and there is no model, or it is a view and the texts have vectors made
                elsewhere, which are those of the model's view alone.
        """
        if texts.vectors is not None and self.model is not None and space not in ("latent", *self.model.widths):
            raise OptionError(
                f"vectors made elsewhere are those of the model's view, {', '.join(self.model.widths)}, and "
                f"'{space}' is another; leave that space out, or let the texts be embedded"
            )
        if space != "latent":
            return self._features(texts, (space,)).matrix(space)
        if self.model is None:
            raise OptionError(
                f"{self.path} holds scores and no model, so there are no latents; give the model's folder, or take the "
                "space 'joint' or 'response'"
            )
        return self.model.latent(self._features(texts, self.model.widths), member=member)

    def _features(self, texts: Texts, views: Any) -> Features:
        how = self.reading(self.model) if texts.vectors is None else {}
        return as_candidates(texts, views=views, **how).features


def score_rows(texts: Texts, reward: Reward, *, draws: bool) -> list[dict[str, Any]]:
    """Return one row a text: id, index, `score` and `sd` over draws, and with `draws` all that any rule can ask for."""
    rows: list[dict[str, Any]] = [
        {"id": name, "index": index, "score": score, "sd": sd}
        for (name, index), score, sd in zip(texts.names, reward.mean.tolist(), reward.sd.tolist(), strict=True)
    ]
    if draws:
        columns: dict[str, Array] = {"draws": reward.draws}
        if reward.sigma is not None:
            columns["sigma"] = reward.sigma
        for name, values in columns.items():
            for row, numbers in zip(rows, values.T.tolist(), strict=True):
                row[name] = numbers
        for row in rows:
            row |= {"kind": reward.kind} | ({} if reward.annotator is None else {"annotator": reward.annotator})
    return rows


def read_scores(path: str | Path, texts: Texts) -> Reward:
    """Read saved scores of the texts.

    Args:
        path: rows of `embrm score`, in any order, or a .npy file of draws `(s, n)` or scores `(n,)` in the order of the
            texts. Several draws without a `kind` are taken to be members of an ensemble.
        texts: what was scored.

    Raises:
        DataError: a text has no score or two, or the numbers are not finite, or not as many as there are texts.
    """
    if Path(path).suffix == ".npy":
        draws = np.atleast_2d(load_numbers(path))
        if draws.ndim != 2 or draws.shape[1] != len(texts):
            raise DataError(
                f"{path} must hold draws (s, n) or scores (n,) of the {len(texts)} texts of {texts.rows.name}, got "
                f"shape {draws.shape}"
            )
        return Reward(draws, "members" if len(draws) > 1 else "point")
    rows = _rows_of(path, texts)
    column = "draws" if "draws" in rows[0] else "score"
    draws = _table(path, rows, column)
    sigma = _table(path, rows, "sigma") if "sigma" in rows[0] else None
    kind = rows[0].get("kind", "members" if len(draws) > 1 else "point")
    if kind not in get_args(Kind):
        raise DataError(f"{path}: kind must be one of {', '.join(get_args(Kind))}, got {short(kind)}; score again")
    names = rows[0].get("annotator")
    if names is not None and not (isinstance(names, list) and all(isinstance(name, str) for name in names)):
        raise DataError(f"{path}: annotator must name whose each draw is, got {short(names)}; score again")
    return Reward(draws, kind, sigma=sigma, annotator=None if names is None else tuple(names))


def read_numbers(path: str | Path, texts: Texts) -> Array:
    """Read one number `(n,)` for each text: a .npy vector, or the `score` of rows of `embrm score`'s form.

    Raises:
        DataError: see `read_scores`.
    """
    if Path(path).suffix == ".npy":
        return as_vector(load_numbers(path), str(path), len(texts), np.float64)
    return np.asarray(_table(path, _rows_of(path, texts), "score")[0])


def load_numbers(path: str | Path) -> Array:
    """Read a .npy file of numbers.

    Raises:
        DataError: it is no such file.
    """
    return read_npy(path, of="numbers").astype(np.float64)


def _rows_of(path: str | Path, texts: Texts) -> list[dict[str, Any]]:
    """Return the saved row of each text, in the order of the texts."""
    rows = read_rows(path)
    found: dict[tuple[str, int], dict[str, Any]] = {}
    for i, row in enumerate(rows.values):
        if "id" not in row or "score" not in row:
            raise DataError(
                f"{rows.where(i)} must have 'id' and 'score', as `embrm score` writes, got {', '.join(row)}"
            )
        index = row.get("index", 0)
        if isinstance(index, bool) or not (isinstance(index, int) or (isinstance(index, float) and index.is_integer())):
            raise DataError(
                f"{rows.where(i)}: index must be a whole number, the response's in its pool, got {short(index)}"
            )
        name = (str(row["id"]), int(index))
        if name in found:
            raise DataError(f"{rows.where(i)}: response {name[1]} of id '{name[0]}' has a score already; remove one")
        found[name] = row
    missing = [name for name in texts.names if name not in found]
    if missing:
        raise DataError(
            f"{path} has no score of {len(missing)} of the {len(texts)} texts of {texts.rows.name}, first: response "
            f"{missing[0][1]} of id '{missing[0][0]}'; score that file again"
        )
    return [found[name] for name in texts.names]


def _table(path: str | Path, rows: list[dict[str, Any]], column: str) -> Array:
    """Return a column of numbers, or of lists of numbers of one length, as `(s, n)`."""
    try:
        table = np.array([np.atleast_1d(row[column]) for row in rows], dtype=np.float64)
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"{path}: '{column}' must be in every row, a number or as many numbers as in the others; score again"
        ) from error
    if table.ndim != 2 or not np.isfinite(table).all():
        raise DataError(f"{path}: '{column}' must be finite numbers in every row; score again")
    return table.T
