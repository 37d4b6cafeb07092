"""Which layout a file has: the only one whose sniffer knows its columns, or the one that was named."""

from __future__ import annotations

import difflib
import json
import re
import warnings
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from embrm.core.files import Rows
from embrm.core.registry import PluginWarning
from embrm.data.chat import short
from embrm.data.faults import GAP
from embrm.data.layouts._layout import ASKS, Columns, RowLayout, found_columns
from embrm.data.layouts._registry import registry
from embrm.errors import DataError, OptionError, PluginError

NEEDED = {
    "pairs": ("chosen", "rejected"),
    "pools": ("prompt", "responses"),
    "texts": ("response",),
    "traces": ("prompt", "steps"),
}
LISTED = (  # columns that hold lists or objects and never text
    *("responses", "candidates", "generations", "outputs", "gold", "policy", "rating", "ratings", "scores", "rewards"),
    *("ranking", "completions", "answers", "messages", "conversations"),
    *("votes", "annotations", "individual_preference", "annotators", "preferences"),
    *("steps", "labels"),
)
JOIN = 'join both by question_id and write a row {"id": …, "prompt": …, "responses": […], "policy": […]} a question'
HALVES = {  # what is half of something, and where the other half is
    ("question_id", "choices"): f"answers of MT-Bench, whose questions are in another file; {JOIN}",
    ("question_id", "turns"): f"questions of MT-Bench, whose answers are in other files; {JOIN}",
}
WRITE = "`embrm generate` writes some, or name their column by --columns response=NAME"
ALONE = {  # all that there is, beside what says where it came from
    ("prompt",): f"prompts and no responses; {WRITE}",
    ("question",): f"questions and no responses; {WRITE}",
    ("instruction", "output"): "an instruction and an output; read the output as a response by --columns "
    "response=output, or name the system that wrote it in a column 'generator'",
}
BETTER = (  # what the columns of the chosen and the rejected response are called, but for what they share
    *(("chosen", "rejected"), ("chosen", "reject"), ("winner", "loser"), ("win", "lose"), ("won", "lost"), ("w", "l")),
    *(("preferred", "dispreferred"), ("preferred", "non_preferred"), ("preferred", "rejected"), ("j", "k")),
    *(("accepted", "rejected"), ("positive", "negative"), ("pos", "neg"), ("better", "worse"), ("best", "worst")),
    *(("good", "bad"), ("yes", "no"), ("selected", "rejected"), ("liked", "disliked")),
)
ASIDE = ("id", "dataset", "source", "category", "subset", "input")


def find_layout(rows: Rows, *, name: str | None, kind: str | None) -> tuple[str, RowLayout]:
    """Return the name of a file's layout and the layout.

    Args:
        rows: the file's, columns already renamed.
        name: which layout it is; None lets the sniffers tell.
        kind: what is wanted, "pairs", "pools" or "texts", or None for whatever it gives.

    Raises:
        DataError: no layout knows the columns, several do, it does not give what is wanted, or the column of prompts
            seems to be misspelt.
        UnknownNameError: there is no layout of that name.
    """
    columns = Columns.of(rows)
    if name is None:
        fitting = [n for n in registry.names() if _knows(n, columns)]
        if len(fitting) > 1:
            raise DataError(
                f"{rows.name} can be read as {' or as '.join(fitting)}; say which: "
                f"{' or '.join(f'--layout {n}' for n in fitting)} (found: {', '.join(sorted(columns.names))})"
            )
        if not fitting:
            raise DataError(_unknown(rows, columns.names, kind))
        name = fitting[0]
    layout: RowLayout = registry.get(name)()
    if not registry.told(name, lambda: layout.fits(columns)):
        raise DataError(
            f"{rows.name} has not the columns of the layout {name} (found: {', '.join(sorted(columns.names))}); its "
            f"rows are such as {layout.example[0]}"
        )
    if kind is not None and kind not in layout.kinds:
        missing = next((n for n in NEEDED[kind] if n not in columns.names), NEEDED[kind][-1])
        raise DataError(
            f"{rows.name} has no column '{missing}', which {kind} need; {found_columns(columns.names, missing)} (read "
            f"as {name}, which gives {' or '.join(layout.kinds)})"
        )
    near = _misspelt_prompt(columns)
    if near is not None:
        raise DataError(
            f"{rows.name} has no column 'prompt', and '{near}' looks like it; say so by --columns prompt={near} (in "
            f"Python columns={{'prompt': '{near}'}}), or take the column out where it is something else"
        )
    return name, layout


def _knows(name: str, columns: Columns) -> bool:
    """Say whether a layout knows the columns; a plug-in that fails, and that nobody asked for, is left out."""
    try:
        return bool(registry.told(name, lambda: registry.get(name)().fits(columns)))
    except PluginError as error:
        warnings.warn(f"{error}; it is left out", PluginWarning, stacklevel=5)
        return False


def _misspelt_prompt(columns: Columns) -> str | None:
    """Return the column of text that a misspelt prompt may be in, where rows of text have none; it would be ignored."""
    if columns.any("prompt", *ASKS) or not any(columns.are(name, str) for name in ("chosen", "response", "completion")):
        return None
    texts = {n.lower(): n for n in columns.names if columns.are(n, str) and not n.lower().endswith("id")}
    near = difflib.get_close_matches("prompt", texts, n=1, cutoff=0.8)
    return texts[near[0]] if near else None


def _unknown(rows: Rows, found: frozenset[str], kind: str | None) -> str:
    half = next((told for columns, told in HALVES.items() if found.issuperset(columns)), None)
    if half is None and kind in (None, "texts"):
        half = next((told for columns, told in ALONE.items() if found - set(ASIDE) == set(columns)), None)
    if half is not None:
        return f"{rows.name} has {half} (found: {', '.join(sorted(found))})"
    more = "`embrm data layouts` lists what is known; --columns chosen=NAME,… renames"
    empty = sorted({name for row in rows.values for name in row} - found)
    if kind in (None, "pairs") and set(NEEDED["pairs"]) & set(empty):
        return f"{rows.name} has nothing in {' and '.join(empty)} in any row (found: {', '.join(sorted(found))})"
    wrapped = _wrapped(rows)
    if wrapped is not None:
        return f"{rows.name} {wrapped} (found: {', '.join(sorted(found)[:10])})"
    named = _better_and_worse(found)
    if named is not None and kind in (None, "pairs"):
        ours = dict(zip(NEEDED["pairs"], named, strict=True))
        moved = ",".join(f"{name}={theirs}" for name, theirs in ours.items() if name != theirs)
        return (
            f"{rows.name} has no columns 'chosen' and 'rejected', and {' and '.join(named)} look like them; say so by "
            f"--columns {moved} (found: {', '.join(sorted(found))})"
        )
    if kind is not None:
        missing = next((n for n in NEEDED[kind] if n not in found), None)
        if missing is not None:
            return f"{rows.name} has no column '{missing}', which {kind} need; {found_columns(found, missing)}"
    if "responses" in found and not {"prompt", *ASKS} & found:
        return (
            f"{rows.name} has no column 'prompt', which pools need; {found_columns(found, 'prompt')}; --columns "
            "prompt=NAME says where it is"
        )
    wanted = ("chosen", "rejected", "responses", "response")
    return (
        f"{rows.name} has neither the columns of pairs (chosen, rejected), nor of pools (prompt, responses), nor of "
        f"texts (response); {found_columns(found, *wanted)}. {more}"
    )


def _better_and_worse(found: frozenset[str]) -> tuple[str, str] | None:
    """Return the only two columns that are called chosen and rejected in other words, or None."""
    pairs = set()
    for column in found:
        parts = re.split(r"(?<=[_. -])|(?=[_. -])", column.lower())
        for good, bad in BETTER:
            for i, part in enumerate(parts):
                other = "".join([*parts[:i], bad, *parts[i + 1 :]])
                pairs |= {(column, name) for name in found if part == good and name.lower() == other}
    return pairs.pop() if len(pairs) == 1 else None


def _wrapped(rows: Rows) -> str | None:
    """Say how to take out the rows that lie inside objects, or None where that is not so."""
    row = rows.values[0]
    lists = [k for k, value in row.items() if isinstance(value, list) and value and isinstance(value[0], dict)]
    if len(rows) == 1 and len(lists) == 1 and "role" not in row[lists[0]][0]:
        return f"is one object that holds rows in '{lists[0]}'; write them alone: jq -c '.{lists[0]}[]'"
    if isinstance(row.get("row"), dict):
        return "has its rows inside 'row', as the hub's viewer gives them; write them alone: jq -c '.row'"
    if len(rows) == 1 and len(row) > 1 and all(isinstance(value, dict) for value in row.values()):
        return "is one object that holds a row under each key; write them alone: jq -c '.[]'"
    if len(rows) == 1 and {"columns", "index", "data"} <= set(row):
        return "was written by pandas with orient='split'; write it by to_json(path, orient='records', lines=True)"
    return None


def renamed(rows: Rows, columns: Mapping[str, str]) -> Rows:
    """Return the rows with columns under the names that this package gives them.

    What lies inside an object is `column.key`; the ratings of completions are left to the layout.

    Raises:
        OptionError: there is no such column.
    """
    if not columns:
        return rows
    found = {name for row in rows.values for name in row}
    inner = {theirs for theirs in columns.values() if "." in theirs and theirs not in found}
    rows = rows.replace([_with_inner(row, inner) for row in rows.values], range(len(rows))) if inner else rows
    found |= {name for name in inner if any(name in row for row in rows.values)}
    moves: dict[str, str] = {}
    for ours, theirs in columns.items():
        if theirs in found or not theirs:
            moves[ours] = theirs
        elif not (ours == "rating" or (ours == "margin" and (theirs == GAP or difference(theirs, found)))):
            raise OptionError(
                f"--columns {ours}={theirs}: {rows.name} has no column '{theirs}'; {found_columns(found, theirs)}"
            )
    gone = {theirs for ours, theirs in moves.items() if ours != theirs} | set(moves)
    values = []
    for row in rows.values:
        kept = {name: value for name, value in row.items() if name not in gone}
        values.append({**kept, **{ours: row[theirs] for ours, theirs in moves.items() if theirs in row}})
    return rows.replace(values, range(len(rows)))


def _with_inner(row: dict[str, Any], paths: Iterable[str]) -> dict[str, Any]:
    """Return a row with what lies inside its objects at `column.key`, as JSON or not, in columns of their own."""
    out = dict(row)
    for path in paths:
        value: Any = row
        for key in path.split("."):
            value = _listed(value)
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None:
            out[path] = value
    return out


def listed(rows: Rows) -> Rows:
    """Return the rows with lists and objects in place of their JSON, which tables of text hold (CSV, some Parquet)."""
    values = [{name: _listed(value) if name in LISTED else value for name, value in row.items()} for row in rows.values]
    return rows.replace(values, range(len(rows)))


def _listed(value: Any) -> Any:
    if not isinstance(value, str) or value.lstrip()[:1] not in ("[", "{"):
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        return value
    return found if isinstance(found, list | dict) else value


def difference(words: str, columns: Iterable[str]) -> tuple[str, str] | None:
    """Return the two columns of `a-b`; their names may have hyphens of their own."""
    known = set(columns)
    cuts = [i for i, sign in enumerate(words) if sign == "-"]
    return next(((words[:i], words[i + 1 :]) for i in cuts if words[:i] in known and words[i + 1 :] in known), None)


def told_rows(name: str, turned: Iterable[tuple[int, dict[str, Any]]], rows: Rows) -> list[tuple[int, dict[str, Any]]]:
    """Return what a layout gives.

    Raises:
        DataError: it is not what `RowLayout.turn` promises.
    """
    found = list(turned)
    for i, row in found:
        known = isinstance(i, int | np.integer) and 0 <= i < len(rows) and isinstance(row, dict)
        if not (known and all(isinstance(column, str) for column in row)):
            raise DataError(
                f"the layout '{name}' gave {short((i, row))}, and not the number of a row and a row; repair its package"
            )
    return found
