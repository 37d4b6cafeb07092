"""More of a study that was run: further seeds under the same configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from embrm.errors import OptionError
from embrm.study.config import StudyConfig


def with_more_seeds(config: StudyConfig, more: int) -> StudyConfig:
    """Return a configuration with so many seeds more, the next ones after its own.

    >>> from embrm.study.config import load_config
    >>> with_more_seeds(load_config("ci"), 3).seeds
    [0, 1, 2, 3, 4]

    Raises:
        OptionError: `more` is below 1.
    """
    if more < 1:
        raise OptionError(f"more seeds must be >= 1, got {more}")
    start = max(config.seeds) + 1
    return config.model_copy(update={"seeds": [*config.seeds, *range(start, start + more)]})


def check_same(asked: StudyConfig, before: StudyConfig) -> None:
    """Refuse to extend a run by another configuration; seeds may differ.

    Raises:
        OptionError: something else differs; the message says what.
    """
    found = list(_differences(asked.model_dump(mode="json"), before.model_dump(mode="json"), ""))
    if found:
        more = f", and {len(found) - 3} more" if len(found) > 3 else ""
        raise OptionError(
            f"the run has another configuration: {'; '.join(found[:3])}{more}; leave --config and --set out to extend "
            "it as it is, or give another folder with -o"
        )


def _differences(asked: Any, before: Any, path: str) -> Iterator[str]:
    if path == "seeds":
        return
    if isinstance(asked, dict) and isinstance(before, dict):
        for key in dict.fromkeys([*before, *asked]):
            yield from _differences(asked.get(key), before.get(key), f"{path}.{key}".lstrip("."))
    elif isinstance(asked, list) and isinstance(before, list) and len(asked) == len(before):
        for i, (new, old) in enumerate(zip(asked, before, strict=True)):
            yield from _differences(new, old, f"{path}.{i}")
    elif asked != before:
        yield f"{path} is {_short(before)} there, asked for {_short(asked)}"


def _short(value: Any) -> str:
    if isinstance(value, list | dict):
        return f"{len(value)} entries"
    return repr(value)
