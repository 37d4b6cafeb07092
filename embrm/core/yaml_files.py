"""YAML as it is read here: within stated bounds, with errors that name the file and the place, not its content."""

from __future__ import annotations

from typing import Any

import yaml

from embrm.errors import DataError

CHARACTERS = 10_000_000  # of a document
DEPTH = 50  # of nested lists and mappings
VALUES = 1_000_000  # of a document, with every alias (*name) counted as what it stands for


class _Counted:
    """Values of a document as they are parsed: event by event, so that no depth of nesting is a depth of calls."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.total = 0
        self.open: list[tuple[str | None, int]] = []  # anchor of a list or mapping that is not closed, total before it
        self.sizes: dict[str, int] = {}

    def see(self, event: yaml.Event) -> None:
        if isinstance(event, yaml.CollectionStartEvent):
            self.open.append((event.anchor, self.total))
            self.total += 1
            if len(self.open) > DEPTH:
                raise self._refused(event, f"is nested more than {DEPTH} deep")
        elif isinstance(event, yaml.CollectionEndEvent):
            anchor, before = self.open.pop()
            if anchor is not None:
                self.sizes[anchor] = self.total - before
        elif isinstance(event, yaml.ScalarEvent):
            self.total += 1
            if event.anchor is not None:
                self.sizes[event.anchor] = 1
        elif isinstance(event, yaml.AliasEvent):
            if event.anchor not in self.sizes:
                raise self._refused(event, f"has an alias *{str(event.anchor)[:40]} of what is not complete before it")
            self.total += self.sizes[event.anchor]
        if self.total > VALUES:
            raise self._refused(event, f"stands for more than {VALUES} values, aliases written out")

    def _refused(self, event: yaml.Event, what: str) -> DataError:
        line = 0 if event.start_mark is None else event.start_mark.line + 1
        return DataError(f"{self.name}, line {line}: the YAML {what}; write it flatter, or without aliases")


def check_yaml(text: str, *, name: str) -> None:
    """Raise DataError, naming the document and the line, where it is no YAML or exceeds a bound of this module."""
    if len(text) > CHARACTERS:
        raise DataError(f"{name} has {len(text)} characters, and YAML is read up to {CHARACTERS}; split it")
    counted = _Counted(name)
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            counted.see(event)
    except yaml.YAMLError as error:
        raise DataError(f"{name} is not valid YAML: {_told(error)}; quote texts that hold ': ' or ' #'") from None


def read_yaml(text: str, *, name: str) -> Any:
    """Return the value of a YAML document.

    Args:
        text: the document.
        name: what messages call it.

    Raises:
        DataError: it is no YAML, is longer than 10 000 000 characters, nested more than 50 deep, or stands for more
            than 1 000 000 values, aliases written out.

    >>> read_yaml("seeds: [0, 1]", name="study.yaml")
    {'seeds': [0, 1]}
    """
    check_yaml(text, name=name)
    try:
        return yaml.load(text, Loader=yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # a date or number that is none
        raise DataError(f"{name} is not valid YAML: {_told(error)}; quote texts that hold ': ' or ' #'") from None


def _told(error: Exception) -> str:
    """Return where and why, on one line, without the document's own text."""
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark is not None:
        mark, begin = error.problem_mark, error.context_mark
        since = "" if begin is None or error.context is None else f", {error.context} of line {begin.line + 1}"
        return f"{error.problem} at line {mark.line + 1}, column {mark.column + 1}{since}"
    return str(error).partition("\n")[0][:200]
