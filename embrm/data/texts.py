"""What a file says before any embedding: the texts of preference pairs, of pools of candidates, or of single rows."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embrm.core.arrays import Array, IntArray
from embrm.core.files import Rows, read_rows
from embrm.errors import DataError


@dataclass(frozen=True, eq=False)
class Texts:
    """The texts of a file in its order: chosen and rejected of each pair, or the responses of each pool.

    Attributes:
        kind: `"pairs"`, `"pools"`, or `"texts"` (one response a row).
        rows: the rows that they were read from.
        prompts: `m` prompts, one a text.
        responses: `m` responses.
        offsets: `(rows + 1,)` which texts each row of the file gave.
    """

    kind: str
    rows: Rows
    prompts: list[str]
    responses: list[str]
    offsets: IntArray

    def __len__(self) -> int:
        return len(self.responses)

    @property
    def names(self) -> list[tuple[str, int]]:
        """Id of each text's row (its number where it has none), and the text's index in that row."""
        ids = [str(row.get("id", number)) for row, number in zip(self.rows.values, self.rows.numbers, strict=True)]
        sizes = np.diff(self.offsets).tolist()
        return [(name, index) for name, size in zip(ids, sizes, strict=True) for index in range(size)]


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


def read_texts(source: str | Path, *, kind: str | None = None) -> Texts:
    """Read the texts of a file without embedding them; `kind` None tells pairs, pools and texts by their columns.

    Raises:
        DataError: see `read_pairs` and `read_candidates`.
    """
    rows = read_rows(source)
    found = {name for row in rows.values for name in row}
    if kind is None:
        kind = next((k for k in _needed if set(_needed[k]) <= found), None)
        if kind is None:
            raise DataError(
                f"{rows.name} has neither the columns of pairs (chosen, rejected), nor of pools (prompt, responses), "
                f"nor of texts (response); {_found(found, 'chosen', 'rejected', 'responses', 'response')}"
            )
    for name in _needed[kind]:
        if name not in found:
            raise DataError(f"{rows.name} has no column '{name}', which {kind} need; {_found(found, name)}")
    return _parsers[kind](rows)


def read_prompts(source: str | Path) -> tuple[list[str], list[str | list[dict[str, str]]]]:
    """Read the ids (the line's number where a row has none) and prompts of a file; messages stay messages.

    Raises:
        DataError: a row has no prompt, or it is neither text nor a list of messages.
    """
    rows = read_rows(source)
    ids = [str(row.get("id", number)) for row, number in zip(rows.values, rows.numbers, strict=True)]
    prompts: list[str | list[dict[str, str]]] = []
    for i in range(len(rows)):
        value, where = _value(rows, i, "prompt"), f"{rows.where(i)}: prompt"
        text = plain_text(value, where)
        messages = [] if isinstance(value, str) else value
        turns = [{"role": str(m.get("role", "user")), "content": _content(m["content"], where)} for m in messages]
        prompts.append(turns or text)
    return ids, prompts


_needed = {"pairs": ("chosen", "rejected"), "pools": ("prompt", "responses"), "texts": ("response",)}


def _found(found: Iterable[str], *wanted: str) -> str:
    columns = sorted(found)
    near = {w: difflib.get_close_matches(w, columns, n=1, cutoff=0.7) for w in wanted}
    hints = [f"rename '{match[0]}' to '{w}'" for w, match in near.items() if match and match[0] != w]
    return f"found: {', '.join(columns) or 'none'}" + (f". Did you misspell it? {'; '.join(hints)}" if hints else "")


def _pair_texts(rows: Rows) -> Texts:
    prompts: list[str] = []
    responses: list[str] = []
    for i, row in enumerate(rows.values):
        chosen, rejected = _value(rows, i, "chosen"), _value(rows, i, "rejected")
        prompt = row.get("prompt")
        if prompt is None:
            if type(chosen) is not type(rejected):
                raise DataError(f"{rows.where(i)}: chosen and rejected must both be text or both lists of messages")
            cut = _shared(chosen, rejected)
            prompt, chosen, rejected = chosen[:cut], chosen[cut:], rejected[cut:]
        asked = plain_text(prompt, f"{rows.where(i)}: prompt")
        better = plain_text(chosen, f"{rows.where(i)}: chosen")
        worse = plain_text(rejected, f"{rows.where(i)}: rejected")
        if better == worse:
            raise DataError(f"{rows.where(i)}: chosen equals rejected; a pair needs two different responses, remove it")
        prompts += [asked, asked]
        responses += [better, worse]
    return Texts("pairs", rows, prompts, responses, np.arange(len(rows) + 1) * 2)


def _shared(chosen: Any, rejected: Any) -> int:
    """Return how much of the beginning is the prompt: whole messages, or text up to the last marker or word."""
    size = min(len(chosen), len(rejected))
    cut = next((i for i in range(size) if chosen[i] != rejected[i]), size)
    if not isinstance(chosen, str):
        return cut
    marker = "\n\nAssistant:"
    if marker in chosen[:cut]:
        return chosen.rindex(marker, 0, cut) + len(marker)
    while cut and not chosen[cut - 1].isspace():  # never through a word
        cut -= 1
    return cut


def _pool_texts(rows: Rows) -> Texts:
    prompts: list[str] = []
    responses: list[str] = []
    sizes: list[int] = []
    seen: dict[str, int] = {}
    for i, row in enumerate(rows.values):
        name = str(row.get("id", rows.numbers[i]))
        if name in seen:
            raise DataError(f"{rows.where(i)}: id '{name}' was used before ({rows.where(seen[name])}); ids must differ")
        seen[name] = i
        pool = _value(rows, i, "responses")
        if not isinstance(pool, list) or not pool:
            raise DataError(f"{rows.where(i)}: responses must be a list of at least one response, got {_short(pool)}")
        for column in ("gold", "policy"):
            given = row.get(column)
            if given is not None and (not isinstance(given, list) or len(given) != len(pool)):
                raise DataError(
                    f"{rows.where(i)}: {column} must be a list with one entry for each of the {len(pool)} responses, "
                    f"got {_short(given)}"
                )
        prompts += [plain_text(_value(rows, i, "prompt"), f"{rows.where(i)}: prompt")] * len(pool)
        responses += [plain_text(r, f"{rows.where(i)}: responses[{j}]") for j, r in enumerate(pool)]
        sizes.append(len(pool))
    return Texts("pools", rows, prompts, responses, np.concatenate([[0], np.cumsum(sizes)]))


def _single_texts(rows: Rows) -> Texts:
    prompts = [plain_text(row.get("prompt") or "", f"{rows.where(i)}: prompt") for i, row in enumerate(rows.values)]
    responses = [plain_text(_value(rows, i, "response"), f"{rows.where(i)}: response") for i in range(len(rows))]
    return Texts("texts", rows, prompts, responses, np.arange(len(rows) + 1))


_parsers = {"pairs": _pair_texts, "pools": _pool_texts, "texts": _single_texts}


def numbers(rows: Rows, column: str, *, default: float) -> Array | None:
    """Return a column of numbers (or of true and false) `(rows,)`, or None where no row has it.

    Raises:
        DataError: an entry is no finite number.
    """
    if not any(row.get(column) is not None for row in rows.values):
        return None
    values = [default if (v := row.get(column)) is None else v for row in rows.values]
    return np.array([_number(v, f"{rows.where(i)}: {column}") for i, v in enumerate(values)])


def gold(rows: Rows) -> Array | None:
    """Return the gold rewards of all responses of the pools, `(m,)`, or None where no row has them.

    Raises:
        DataError: only some rows have them, or an entry is no finite number.
    """
    missing = [i for i, row in enumerate(rows.values) if row.get("gold") is None]
    if len(missing) == len(rows):
        return None
    if missing:
        raise DataError(
            f"{rows.where(missing[0])} has no 'gold', but other pools have; give it to all of them or to none"
        )
    return np.array([_number(v, f"{rows.where(i)}: gold") for i, row in enumerate(rows.values) for v in row["gold"]])


def _number(value: Any, where: str) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise DataError(f"{where} must be a finite number, got {_short(value)}")
    return float(value)


def _value(rows: Rows, i: int, column: str) -> Any:
    value = rows.values[i].get(column)
    if value is None:
        raise DataError(f"{rows.where(i)} has no '{column}'; {_found(rows.values[i], column)}")
    return value


def plain_text(value: Any, where: str) -> str:
    """Return text as it is, one message's content, or several messages with the role before each."""
    if isinstance(value, str):
        if not value.isascii():
            _check_characters(value, where)
        return value
    if not isinstance(value, list):
        raise DataError(f"{where} must be text or a list of messages, got {_short(value)}")
    if not all(isinstance(m, dict) and "content" in m for m in value):
        raise DataError(f"{where} must hold messages {{'role': …, 'content': …}}, got {_short(value)}")
    contents = [_content(m["content"], where) for m in value]
    if len(contents) < 2:
        return "".join(contents)
    return "\n\n".join(f"{m.get('role', 'user')}: {text}" for m, text in zip(value, contents, strict=True))


def _check_characters(text: str, where: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise DataError(f"{where} holds half of a surrogate pair at position {error.start}; repair the text") from error


def _content(value: Any, where: str) -> str:
    if isinstance(value, list) and all(isinstance(p, dict) and isinstance(p.get("text"), str) for p in value):
        value = "\n".join(part["text"] for part in value)
    if isinstance(value, str):
        return plain_text(value, where)
    raise DataError(f"{where}: a message's content must be text, got {_short(value)}; images cannot be embedded")


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
