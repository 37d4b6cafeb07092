"""Options as they are typed: `name=value` with YAML values, and `outer.inner=value` for options of an option."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from embrm.errors import DataError, OptionError


def read_settings(typed: Sequence[str], *, example: str = "members=5") -> dict[str, Any]:
    """Return the options that `name=value` give; of one that is given twice the last counts.

    Args:
        typed: what was typed; a value is YAML.
        example: what the message of an error shows.

    Raises:
        OptionError: one of them has no `=`, or its value is no YAML.
    """
    from embrm.core.yaml_files import read_yaml

    out: dict[str, Any] = {}
    for item in typed:
        name, equals, value = item.partition("=")
        if not (name and equals):
            raise OptionError(f"'{item[:80]}' is not NAME=VALUE; write for example {example}")
        try:
            out[name] = read_yaml(value, name=name)
        except DataError:
            raise OptionError(f"the value of '{item[:80]}' is not YAML; write for example {example}") from None
    return out


def write_settings(options: Mapping[str, Any]) -> list[str]:
    """Return JSON-ready options as they are typed; the options of a nested recipe get dotted names."""
    out: list[str] = []
    for name, value in options.items():
        if isinstance(value, Mapping) and "name" in value and set(value) <= {"name", "options"}:
            out.append(f"{name}={value['name']}")
            out += [f"{name}.{item}" for item in write_settings(value.get("options", {}))]
        else:
            out.append(f"{name}={_yaml(value)}")
    return out


def split_settings(text: str) -> list[str]:
    """Split `a=1,b=[2,3]` at the commas that stand in no bracket."""
    return re.split(r",(?![^\[\]{}]*[\]}])", text) if text else []


def _yaml(value: Any) -> str:
    import yaml

    text: str = yaml.safe_dump(value, default_flow_style=True, width=2**30, allow_unicode=True)
    return text.removesuffix("...\n").strip()
