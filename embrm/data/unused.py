"""Columns that nobody reads and that yet say something: the prompt under a name of its own, scores, images."""

from __future__ import annotations

import re
import warnings
from typing import Any

from embrm.core.files import Rows
from embrm.data.chat import is_conversation
from embrm.data.faults import ReadingWarning, RowRules
from embrm.data.layouts._layout import Row, is_missing
from embrm.data.pairing import NUMBERS
from embrm.errors import DataError

READ = ("prompt", "chosen", "rejected", "response", "responses", "id", "annotator", "cluster", "principle", *NUMBERS)
PICTURES = ("image", "images", "video", "videos", "audio", "audios")
_asking = re.compile(
    r"(.*[ _-])?(prompt|question|query|instruction|input|context|history|post|title|problem|request|ask|task|user|human"
    r"|dialog(ue)?|conversation|message|trajectory|document|article)s?([ _-](text|content|prompt|history|messages))?",
    re.IGNORECASE,
)
_both = re.compile(r"(chosen|rejected)[ _-]?(score|rating|reward)|(score|rating|reward)[ _-]?(chosen|rejected)")
_rating = r"(rating|ranking|rank|score|reward|preference)s?"
_judging = re.compile(
    r"(.*[ _-])?(score|rating|reward|margin|strength|gap|delta|diff|difference|ratio|confidence|agreement|preference"
    r"|label|winner|better|choice|tie|weight)s?([ _-].*)?"
)


def check_unused(form: str, rows: Rows, prompts: list[str], rules: RowRules) -> None:
    """Warn of columns that say something about pairs or texts and are not used.

    Args:
        form: what the rows are.
        rows: in their common form, with the columns that no layout took.
        prompts: of each row.
        rules: how they were read.

    Raises:
        DataError: rows have no prompt, and a column looks like it.
    """
    pictures = [name for name in PICTURES if any(row.get(name) for row in rows.values)]
    if pictures:
        _warn(f"{rows.name}: what is in {' and '.join(pictures)} cannot be embedded, and is not seen")
    if form == "pools":
        _mention_unread_ratings(rows.values)
    if form not in ("pairs", "texts"):
        return
    alone = [row for row, prompt in zip(rows.values, prompts, strict=True) if not prompt]
    if alone and "prompt" not in rules.columns:
        _check_asked(rows, alone)
    if form == "pairs":
        _mention_judgements(rows.values, rules)


def _check_asked(rows: Rows, alone: list[Row]) -> None:
    """Look for the question of rows without a prompt: messages, or texts that differ."""
    others = list(dict.fromkeys(name for row in alone for name in row if name not in READ))
    said = {name: [row[name] for row in alone if not is_missing(row.get(name)) and row[name] != ""] for name in others}
    talks = [name for name, values in said.items() if values and _are_messages(values)]
    texts = [name for name, values in said.items() if values and _are_texts(values)]
    asked = [*talks, *(name for name in texts if _asking.fullmatch(name))]
    texts = [name for name in texts if any(" " in value.strip() for value in said[name])]
    if asked:
        raise DataError(
            f"{len(alone)} of {len(rows)} rows of {rows.name} have no prompt, and {' or '.join(asked)} looks like what "
            f"was asked; say which: {' or '.join(f'--columns prompt={name}' for name in asked)}, or --columns prompt= "
            "where nothing was"
        )
    if texts:
        _warn(
            f"{len(alone)} of {len(rows)} rows of {rows.name} have no prompt; if {' or '.join(texts)} is what was "
            f"asked: --columns prompt={texts[0]}"
        )


def _are_messages(values: list[Any]) -> bool:
    return all(isinstance(value, list) and value and is_conversation(value) for value in values)


def _are_texts(values: list[Any]) -> bool:
    """Say whether values are texts, and not the names of a few kinds."""
    return all(isinstance(value, str) for value in values) and len(set(values)) > len(values) / 2


def _mention_judgements(rows: list[Row], rules: RowRules) -> None:
    named = list(dict.fromkeys(name for row in rows for name in row if name not in READ))
    found = [
        name for name in named if _judging.fullmatch(name.lower()) and any(_is_told(row.get(name)) for row in rows)
    ]
    if not found or "margin" in rules.columns or any(not is_missing(row.get("margin")) for row in rows):
        return
    both = [name for name in found if _both.fullmatch(name.lower())]
    if len(both) == 2:
        first, second = sorted(both, key=lambda name: "rejected" in name.lower())
        way = f"--columns margin={first}-{second} makes their difference the pair's margin"
    else:
        apart = next((name for name in found if re.search("margin|gap|diff|ratio|strength|delta", name)), found[0])
        way = f"--columns margin={apart} takes one for the pair's margin, margin=A-B a difference, weight=A a weight"
    named = both if len(both) == 2 else found
    columns = f"the columns {' and '.join(named)} are" if len(named) > 1 else f"the column {named[0]} is"
    _warn(f"{columns} not used; {way}")


def _mention_unread_ratings(rows: list[Row]) -> None:
    judged = any(row.get("gold") is not None for row in rows)
    named = dict.fromkeys(name for row in rows for name in row if re.fullmatch(_rating, name.lower()))
    found = [] if judged else [name for name in named if any(not is_missing(row.get(name)) for row in rows)]
    if found:
        _warn(
            f"{' and '.join(found)} of pools that have no gold are not used; ratings, a ranking or gold are a list "
            "with an entry for each response"
        )


def _is_told(value: Any) -> bool:
    return not is_missing(value) and not isinstance(value, list | dict)


def _warn(message: str) -> None:
    warnings.warn(message, ReadingWarning, stacklevel=5)
