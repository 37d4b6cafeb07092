"""Files that do not fit into memory: their texts block after block, and pairs of which only the vectors are kept."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from embrm.core.arrays import Array, IntArray
from embrm.core.blocks import BLOCK, read_blocks
from embrm.core.data import Features, Pairs
from embrm.core.files import Rows
from embrm.core.progress import tracked
from embrm.core.seen import TextHashes
from embrm.core.views import PRINCIPLE, needed
from embrm.data.chat import short
from embrm.data.columns import annotators, numbers
from embrm.data.encode import Encoded, encode
from embrm.data.faults import ReadingWarning, RowRules
from embrm.data.layouts import find_layout, get, listed, renamed
from embrm.data.layouts._layout import ASKS, Columns, is_missing
from embrm.data.pairing import NUMBERS
from embrm.data.read import distinct
from embrm.data.texts import AS_IT_IS, Texts, form_of, number_prompts, texts_of
from embrm.embedders import Embedder
from embrm.errors import DataError, OptionError


def stream_texts(
    source: str | Path, *, kind: str | None = None, rules: RowRules = AS_IT_IS, size: int = BLOCK
) -> Iterator[Texts]:
    """Yield the texts of a file block after block, in the order of the file: together what `read_texts` gives at once.

    Args:
        source: see `embrm.core.blocks.read_blocks`.
        kind: see `embrm.data.texts.read_texts`.
        rules: see `embrm.data.texts.read_texts`; rows that cannot be used are named where their block ends.
        size: rows of a block.

    Raises:
        DataError: see `read_texts`; the layout brings together rows that may be far apart, blocks have other columns
            than the first, or an id was used before.
        OptionError: the rules ask for a report, which is of a whole file.
    """
    if rules.report is not None:
        raise OptionError("a report of bad rows is of a whole file; read in blocks with on_bad_row='skip', or at once")
    first: tuple[str, tuple[str, ...]] | None = None
    seen: set[bytes] = set()
    for rows in tracked(read_blocks(source, size=size), "blocks of rows"):
        own = _form_of(rows, kind, rules)
        if first is not None and (own[0] != first[0] or (own[1] and first[1] and own[1] != first[1])):
            raise DataError(
                f"{rows.where(0)}: from here on rows read as {own[0]} with the prompt in {_asked(own)}, and before as "
                f"{first[0]} with it in {_asked(first)}; name the columns by --columns, or read the file as a whole"
            )
        first = own if first is None or not first[1] else first
        form = form_of(kind, get(own[0])().kinds)
        if form in get(own[0])().gathers:
            raise DataError(
                f"{rows.name}: {form} of the layout {own[0]} are brought together out of rows that may be far apart, "
                "so that it cannot be read in blocks; read it as a whole, or `embrm convert` it first"
            )
        texts = texts_of(rows, kind=kind, rules=rules)
        if texts.kind == "pools":
            _check_ids(texts, seen)
        yield texts


def _form_of(rows: Rows, kind: str | None, rules: RowRules) -> tuple[str, tuple[str, ...]]:
    """Return the layout of a block and the columns that may hold its prompts."""
    named = listed(renamed(rows, rules.columns))
    name, _ = find_layout(named, name=rules.layout, kind=None if kind in ("judged", "compared") else kind)
    asked = Columns.of(named).any("prompt", *ASKS)
    return name, tuple(asked[:1] if asked[:1] == ["prompt"] else asked)


def _asked(form: tuple[str, tuple[str, ...]]) -> str:
    return " and ".join(form[1]) or "no column"


def _check_ids(texts: Texts, seen: set[bytes]) -> None:
    for i in range(len(texts.rows)):
        name = texts.rows.label(i)
        if _digest(name) in seen:
            raise DataError(f"{texts.rows.where(i)}: id '{name}' was used before; ids must differ")
        seen.add(_digest(name))


def _digest(*parts: str) -> bytes:
    return hashlib.blake2b("\0".join(f"{len(part)} {part}" for part in parts).encode(), digest_size=16).digest()


def stream_pairs(
    source: str | Path,
    *,
    embedder: str | Embedder = "minilm",
    views: Iterable[str] = ("joint",),
    rules: RowRules = AS_IT_IS,
    size: int = BLOCK,
) -> tuple[Pairs, dict[str, Any]]:
    """Read preference pairs of a file larger than memory: their vectors are kept, and of their texts 16 bytes each.

    Returns:
        The pairs that `embrm.read_pairs` gives for the file, and what became of its rows; `read` counts the pairs among
        which some may have become equal.

    Raises:
        DataError: see `stream_texts` and `embrm.read_pairs`.
    """
    made = Embedder.of(embedder) if isinstance(embedder, str) else embedder
    under_way = _Gathered(made, needed(views))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ReadingWarning)  # what was lost is said once, of the whole file
        for texts in stream_texts(source, kind="pairs", rules=rules, size=size):
            under_way.add(texts)
    done = under_way.encoded()
    under_way.warn(str(source))
    done.warn()
    pairs = under_way.pairs(done.features)
    account = {**under_way.account, "read": len(pairs)}
    return distinct(pairs, under_way.places, name=str(source), unit=under_way.unit), account


@dataclass
class _Gathered:
    """Pairs under way: each text of a prompt once, as its vectors."""

    embedder: Embedder
    views: tuple[str, ...]
    prompts: dict[bytes, int] = field(default_factory=dict)
    rows: dict[bytes, int] = field(default_factory=dict)
    parts: list[Encoded] = field(default_factory=list)
    index: list[int] = field(default_factory=list)
    numbers: dict[str, list[Array | int]] = field(default_factory=lambda: {name: [] for name in NUMBERS})
    annotators: list[str] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    unit: str = "row"
    account: dict[str, Any] = field(default_factory=dict)
    cluster: dict[int, Any] = field(default_factory=dict)  # what the file calls that of each prompt
    lone: int = 0  # rows without a prompt, each a prompt of its own

    def add(self, texts: Texts) -> None:
        """Embed the texts of a block that were not there before."""
        own = number_prompts(texts)[0]
        alone = {n: self.lone + i for i, n in enumerate(dict.fromkeys(own[[not p for p in texts.prompts]].tolist()))}
        self.lone += len(alone)
        judged = texts.principles if PRINCIPLE in self.views else [""] * len(texts)
        new: list[int] = []
        numbered: list[int] = []
        for i, (prompt, response) in enumerate(zip(texts.prompts, texts.responses, strict=True)):
            asked = _digest(prompt) if prompt else _digest("", str(alone[int(own[i])]))
            number = self.prompts.setdefault(asked, len(self.prompts))
            named = texts.rows.values[i // 2].get("cluster")
            if not is_missing(named) and self.cluster.setdefault(number, named) != named:
                raise DataError(
                    f"{texts.rows.where(i // 2)}: cluster is {short(named)}, but its prompt was in "
                    f"{short(self.cluster[number])} before; a prompt belongs to one cluster"
                )
            text = _digest(str(number), response, judged[i])
            if text not in self.rows:
                self.rows[text] = len(self.rows)
                new.append(i)
                numbered.append(number)
            self.index.append(self.rows[text])
        if new:
            asked_texts, said = [texts.prompts[i] for i in new], [texts.responses[i] for i in new]
            how: dict[str, Any] = {"embedder": self.embedder, "views": self.views, "keep_system": texts.keep_system}
            how["principles"] = [judged[i] for i in new]
            self.parts.append(encode(asked_texts, said, prompt=numbered, **how))
        for name, default in NUMBERS.items():
            found = numbers(texts.rows, name, default=default)
            self.numbers[name].append(len(texts.rows) if found is None else found)
        self.annotators += annotators(texts.rows)
        self.places += texts.rows.numbers
        self.unit = texts.rows.unit
        for name, value in texts.account.items():
            self.account[name] = self.account.get(name, 0) + value if isinstance(value, int) else value

    def warn(self, name: str) -> None:
        """Say what was left out."""
        lost = {what: n for what, n in self.account.items() if n and what not in ("layout", "rows")}
        if lost:
            said = ", ".join(f"{what}: {n}" for what, n in lost.items())
            warnings.warn(f"{name}: {said}, of {self.account['rows']} rows", ReadingWarning, stacklevel=3)

    def encoded(self) -> Encoded:
        """Return all texts as one."""
        if not self.parts:
            raise DataError("there are no pairs; at least one is needed")
        parts = [part.features for part in self.parts]
        lengths = [part.length for part in parts if part.length is not None]
        features = Features(
            {view: np.concatenate([part.matrix(view) for part in parts]) for view in self.views},
            np.concatenate([part.prompt for part in parts]),
            length=np.concatenate(lengths),
            embedder=parts[0].embedder,
            cluster=self._clusters(np.concatenate([part.prompt for part in parts])),
            hashes=TextHashes.joined([part.hashes for part in parts if part.hashes is not None]),
        )
        cut = np.concatenate([part.cut for part in self.parts])
        return replace(self.parts[0], features=features, cut=cut, computed=sum(part.computed for part in self.parts))

    def _clusters(self, prompt: IntArray) -> IntArray | None:
        """Return the number of each text's cluster, in the order in which clusters first stood."""
        if not self.cluster:
            return None
        missing = len(self.prompts) - len(self.cluster)
        if missing:
            raise DataError(
                f"{missing} of {len(self.prompts)} prompts have no cluster; give it to all, or leave the column "
                "out (--columns cluster=)"
            )
        number = {name: i for i, name in enumerate(dict.fromkeys(self.cluster.values()))}
        return np.array([number[self.cluster[p]] for p in prompt.tolist()], dtype=np.int64)

    def pairs(self, features: Features) -> Pairs:
        """Return the pairs; numbers that a block had none of stand for what is missing there."""
        index = np.array(self.index, dtype=np.int64)
        columns = {name: self._column(name, default) for name, default in NUMBERS.items()}
        tie = columns["tie"]
        return Pairs(
            features,
            index[0::2],
            index[1::2],
            weight=columns["weight"],
            margin=columns["margin"],
            tie=None if tie is None else tie != 0,
            annotator=np.array(self.annotators) if any(self.annotators) else None,
        )

    def _column(self, name: str, default: float) -> Array | None:
        parts = self.numbers[name]
        if all(isinstance(part, int) for part in parts):
            return None
        return np.concatenate([np.full(part, default) if isinstance(part, int) else part for part in parts])
