"""What a file says before any embedding: the texts of preference pairs, of pools of candidates, or of single rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import IntArray, Matrix, as_rows
from embrm.core.files import Rows, read_rows
from embrm.core.progress import tracked
from embrm.core.vectors import open_vectors
from embrm.data.chat import short
from embrm.data.faults import Faults, RowRules
from embrm.data.layouts import find_layout, listed, registry, renamed, told_rows
from embrm.data.layouts._layout import is_missing
from embrm.data.row_texts import PARSERS
from embrm.data.unused import check_unused
from embrm.errors import DataError

AS_IT_IS = RowRules()
_CHOICES = ("judged", "compared", "measured")


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
    found = PARSERS[form](tracked(turned, "rows", total=len(rows)), faults, rules)
    faults.settle(rules, kept=len(found.values))
    account = {"layout": name, "rows": len(rows) + len(rows.refused), "left_out": faults.count, **faults.notes}
    equal = sum(reason.startswith("chosen equals") for reason in faults.found.values())
    account |= {"equal_texts": equal} if equal else {}
    kept = rows.replace(found.values, found.kept)
    first = found.offsets[:-1].tolist()  # a row's first text has the row's prompt
    check_unused(form, kept, [found.prompts[i] for i in first], rules)
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
