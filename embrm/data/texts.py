"""What a file says before any embedding: the texts of preference pairs, of pools of candidates, or of single rows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import IntArray, Matrix, as_rows
from embrm.core.files import Rows, read_rows
from embrm.core.vectors import open_vectors
from embrm.data.chat import short
from embrm.data.faults import Faults, RowRules
from embrm.data.layouts import find_layout, listed, registry, renamed, told_rows
from embrm.data.layouts._layout import Row, is_missing, needed
from embrm.data.numbers import number
from embrm.data.pairing import by_verdict, check_ratings, compared, mention_unused, with_numbers
from embrm.data.prompts import taken_once
from embrm.errors import DataError

AS_IT_IS = RowRules()
_CHOICES = ("judged", "compared", "measured")
PAIRED = ("chosen", "rejected")


@dataclass(frozen=True, eq=False)
class Texts:
    """The texts of a file in its order: both of each pair, the responses of each pool, the prefixes of each trace.

    Attributes:
        kind: `"pairs"`, `"pools"`, `"traces"`, or `"texts"` (one response a row).
        rows: the rows in their common form, see `embrm.data.layouts`, each where it stood in the file.
        prompts: `m` prompts, one a text.
        responses: `m` responses.
        offsets: `(rows + 1,)` which texts each row gave.
        account: the layout that was taken, how many rows were read and how many left out, and what else was lost.
        keep_system: whether system turns stayed in the prompts.
        vectors: `(m, d)` made elsewhere, one a text, that stand for embeddings; None lets the texts be embedded.
    """

    kind: str
    rows: Rows
    prompts: list[str]
    responses: list[str]
    offsets: IntArray
    account: dict[str, Any] = field(default_factory=dict)
    keep_system: bool = False
    vectors: Matrix | None = None

    def __len__(self) -> int:
        return len(self.responses)

    @property
    def names(self) -> list[tuple[str, int]]:
        """Id of each text's row (its number where it has none), and the text's index in that row."""
        sizes = np.diff(self.offsets).tolist()
        return [(self.rows.label(i), index) for i, size in enumerate(sizes) for index in range(size)]

    @property
    def principles(self) -> list[str]:
        """What each text is to be judged by, of a column `principle`; "" where there is none."""
        named = [row.get("principle") for row in self.rows.values]
        for i, name in enumerate(named):
            if not (is_missing(name) or isinstance(name, str)):
                raise DataError(f"{self.rows.where(i)}: principle must be text, got {short(name)}")
        sizes = np.diff(self.offsets).tolist()
        return [name if isinstance(name, str) else "" for name, n in zip(named, sizes, strict=True) for _ in range(n)]

    def take(self, rows: npt.ArrayLike) -> Texts:
        """Return the texts of the given rows (indices or a mask)."""
        kept = np.arange(len(self.rows))[np.asarray(rows)].tolist()
        sizes = np.diff(self.offsets)[kept]
        places = [j for i in kept for j in range(self.offsets[i], self.offsets[i + 1])]
        return replace(
            self,
            rows=self.rows.replace([self.rows.values[i] for i in kept], kept),
            prompts=[self.prompts[j] for j in places],
            responses=[self.responses[j] for j in places],
            offsets=np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]),
            vectors=None if self.vectors is None else self.vectors[np.array(places, dtype=np.int64)],
        )

    def with_vectors(self, features: npt.ArrayLike | str | Path) -> Texts:
        """Return the texts with vectors made elsewhere, an array `(m, d)` or a file, in which they stay.

        Raises:
            DataError: they are no such matrix, or not one row a text.
        """
        if isinstance(features, str | Path):
            name, matrix = str(features), open_vectors(features)
        else:
            name, matrix = "features", as_rows(features)
        if len(matrix) != len(self):
            order = "chosen, rejected of each pair" if self.kind == "pairs" else "the responses of each row"
            raise DataError(
                f"{name} must have one row a text of {self.rows.name}, in its order ({order}): "
                f"expected {len(self)} rows, got {len(matrix)}"
            )
        return replace(self, vectors=matrix)


def number_prompts(*files: Texts) -> list[IntArray]:
    """Return the number of each text's prompt `(m,)` for each file: one prompt has one number in all of them.

    Rows without a prompt are prompts of their own.
    """
    number: dict[object, int] = {}
    out: list[IntArray] = []
    for file, texts in enumerate(files):
        row = np.repeat(np.arange(len(texts.rows)), np.diff(texts.offsets)).tolist()
        keys = [prompt or (file, i) for prompt, i in zip(texts.prompts, row, strict=True)]
        out.append(np.array([number.setdefault(key, len(number)) for key in keys], dtype=np.int64))
    return out


def read_texts(source: str | Path, *, kind: str | None = None, rules: RowRules = AS_IT_IS) -> Texts:
    """Read the texts of a file without embedding them.

    Args:
        source: what `embrm.core.files.read_rows` reads.
        kind: what is wanted, "pairs", "pools", "texts" or "traces"; "judged" takes what the layout gives first of pairs
            and pools, and texts where it gives neither; "measured" does so too, and takes traces; "compared" takes
            pairs, or pools where it gives none; None takes what the layout gives first.
        rules: how the file calls its columns, its layout, and what is done with rows that cannot be used.

    Raises:
        DataError: see `read_pairs` and `read_candidates`.
        OptionError: a column that the rules name is not there.
    """
    return texts_of(read_rows(source, stop=False), kind=kind, rules=rules)


def texts_of(rows: Rows, *, kind: str | None, rules: RowRules) -> Texts:
    """Return the texts of rows; see `read_texts`."""
    rows = listed(renamed(rows, rules.columns))
    faults = Faults(rows)
    if not len(rows):
        faults.settle(rules, kept=0)
    name, layout = find_layout(rows, name=rules.layout, kind=None if kind in _CHOICES else kind)
    try:
        form = form_of(kind, layout.kinds)
        turn = layout.turn if form == "texts" else layout.judged
        turned = registry.told(name, lambda: told_rows(name, turn(rows, faults, rules), rows))
    except DataError as error:
        raise DataError(f"{rows.name}: {error}") from error
    found = _parsers[form](turned, faults, rules)
    faults.settle(rules, kept=len(found.values))
    account = {"layout": name, "rows": len(rows) + len(rows.refused), "left_out": faults.count, **faults.notes}
    equal = sum(reason.startswith("chosen equals") for reason in faults.found.values())
    account |= {"equal_texts": equal} if equal else {}
    columns = {column for row in rows.values for column in row}
    mention_unused(form, columns, rules, prompted=any(found.prompts))
    kept = rows.replace(found.values, found.kept)
    return Texts(form, kept, found.prompts, found.responses, found.offsets, account, bool(rules.keep_system))


def form_of(kind: str | None, kinds: Sequence[str]) -> str:
    """Return which of the kinds that a layout gives is read where `kind` is wanted; see `read_texts`."""
    if "traces" in kinds:
        if kind in _CHOICES and kind != "measured":
            raise DataError("there are labelled steps here, which `embrm fit --steps` and `embrm evaluate` read")
        return "traces"
    if kind in ("judged", "measured"):
        return next((k for k in kinds if k != "texts"), "texts")
    if kind == "compared":
        return next((k for k in ("pairs", "pools") if k in kinds), "texts")
    return kind or kinds[0]


@dataclass
class _Found:
    """Texts under way: the common rows that gave them, and the file's row of each."""

    values: list[Row] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    prompts: list[str] = field(default_factory=list)
    responses: list[str] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)

    def add(self, i: int, row: Row, prompt: str, responses: Sequence[str]) -> None:
        self.values.append(row)
        self.kept.append(i)
        self.prompts += [prompt] * len(responses)
        self.responses += responses
        self.sizes.append(len(responses))

    @property
    def offsets(self) -> IntArray:
        return np.concatenate([[0], np.cumsum(self.sizes, dtype=np.int64)]).astype(np.int64)


def _pair_texts(turned: Iterable[tuple[int, Row]], faults: Faults, rules: RowRules) -> _Found:
    out = _Found()
    for i, row in turned:
        try:
            rated = row.get("ratings") is not None
            pairs = compared(row, rules, faults) if rated else by_verdict(row)
            for k, pair in enumerate(pairs):
                values = [needed(pair, column) for column in PAIRED]
                asked, texts = taken_once(pair.get("prompt"), values, PAIRED, keep_system=bool(rules.keep_system))
                if texts[0] == texts[1] and len(pairs) > 1:
                    faults.lost("pairs of equal texts with different ratings were left out")
                    continue
                if texts[0] == texts[1]:
                    raise DataError("chosen equals rejected; a pair needs two different responses, remove it")
                named = {"id": f"{faults.rows.label(i)}/{k}"} if rated or len(pairs) > 1 else {}
                out.add(i, {**with_numbers(pair, rules), **named}, asked, texts)
        except DataError as error:
            faults.add(i, error)
    return out


def _pool_texts(turned: Iterable[tuple[int, Row]], faults: Faults, rules: RowRules) -> _Found:
    out = _Found()
    seen: dict[str, int] = {}
    for i, given in turned:
        try:
            row = _golden(given, faults) if given.get("ratings") is not None else given
            name = faults.rows.label(i)
            if name in seen:
                raise DataError(f"id '{name}' was used before ({faults.rows.where(seen[name])}); ids must differ")
            pool = needed(row, "responses")
            if not isinstance(pool, list) or not pool:
                raise DataError(f"responses must be a list of at least one response, got {short(pool)}")
            _check_columns(row, len(pool))
            places = [f"responses[{j}]" for j in range(len(pool))]
            asked, texts = taken_once(needed(row, "prompt"), pool, places, keep_system=bool(rules.keep_system))
            seen[name] = i
            out.add(i, row, asked, texts)
        except DataError as error:
            faults.add(i, error)
    return out


def _golden(row: Row, faults: Faults) -> Row:
    """Return a judged pool with its ratings as gold, without the responses that nobody rated."""
    size = check_ratings(row)
    rated = [j for j, rating in enumerate(row["ratings"]) if rating is not None]
    if len(rated) < size:
        faults.lost("responses without a rating were left out", size - len(rated))
    if not rated:
        raise DataError("no response has a rating")
    _check_column(row, "policy", size)
    lists: Row = {name: [row[name][j] for j in rated] for name in ("responses", "policy") if row.get(name) is not None}
    kept = {name: value for name, value in row.items() if name != "ratings"}
    return {**kept, **lists, "gold": [row["ratings"][j] for j in rated]}


def _check_columns(row: Row, size: int) -> None:
    for column in ("gold", "policy"):
        _check_column(row, column, size)
    for value in row.get("gold") or []:
        number(value, "gold")


def _check_column(row: Row, column: str, size: int) -> None:
    given = row.get(column)
    if given is not None and (not isinstance(given, list) or len(given) != size):
        raise DataError(f"{column} must be a list with one entry for each of the {size} responses, got {short(given)}")


def _single_texts(turned: Iterable[tuple[int, Row]], faults: Faults, rules: RowRules) -> _Found:
    out = _Found()
    for i, row in turned:
        try:
            prompt = row.get("prompt")
            given = "" if is_missing(prompt) else prompt
            asked, texts = taken_once(
                given, [needed(row, "response")], ["response"], keep_system=bool(rules.keep_system)
            )
            out.add(i, row, asked, texts)
        except DataError as error:
            faults.add(i, error)
    return out


def _trace_texts(turned: Iterable[tuple[int, Row]], faults: Faults, rules: RowRules) -> _Found:
    out = _Found()
    for i, row in turned:
        try:
            steps = row["steps"]
            prefixes = ["\n".join(steps[: j + 1]) for j in range(len(steps))]
            places = [f"steps[{j}]" for j in range(len(steps))]
            asked, texts = taken_once(needed(row, "prompt"), prefixes, places, keep_system=bool(rules.keep_system))
            out.add(i, row, asked, texts)
        except DataError as error:
            faults.add(i, error)
    return out


_parsers: dict[str, Callable[[Iterable[tuple[int, Row]], Faults, RowRules], _Found]] = {
    "pairs": _pair_texts,
    "pools": _pool_texts,
    "texts": _single_texts,
    "traces": _trace_texts,
}
