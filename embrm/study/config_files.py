"""The YAML files of configurations: found by name or path, and put together where one extends another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embrm.core.bounds import DOCUMENT
from embrm.core.documents import read_bytes
from embrm.core.yaml_files import read_yaml
from embrm.errors import DataError, OptionError, UnknownNameError

CONFIGS = Path(__file__).parent / "configs"
TITLED = ("heads", "rules", "experiments")  # lists that may be written as mappings, by their titles


def names() -> list[str]:
    """Return the names of the shipped configurations."""
    return sorted(f.stem for f in CONFIGS.glob("*.yaml"))


def read_values(source: str) -> tuple[dict[str, Any], Path]:
    """Return a configuration's values, all that it extends among them, and the path of its file.

    A file says `extends: NAME` and then only what differs from that configuration, which is a shipped one or a file
    beside it: mappings are merged, and whatever else is given replaces what was there, lists as a whole. Heads,
    rules and experiments are a list, or a mapping from titles in which another file can change one of them, or take it
    out with null, as it can a mechanism.

    Args:
        source: a name of `names()`, or a path.

    Raises:
        UnknownNameError: no such configuration or file.
        OptionError: a file is no YAML or no mapping, or extends what extends it.
    """
    path = _find(source, Path(), "")
    return _listed(_read(path, ()), path), path


def extended_by(path: Path) -> Iterator[tuple[dict[str, Any], str]]:
    """Yield the values and the path of each configuration that a file extends, the nearest first."""
    while base := _yaml(path).get("extends"):
        path = _find(base, path.parent, "")
        yield _listed(_read(path, ()), path), str(path)


def _listed(values: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return the values with lists of heads, rules and experiments, and without the mechanisms that are taken out."""
    for key in TITLED:
        if isinstance(values.get(key), dict):
            values[key] = [
                _titled(title, item, f"{path}: {key}") for title, item in values[key].items() if item is not None
            ]
    if isinstance(found := values.get("mechanisms"), dict):
        values["mechanisms"] = {title: options for title, options in found.items() if options is not None}
    return values


def _find(source: str, folder: Path, asked: str) -> Path:
    path = CONFIGS / f"{source}.yaml" if source in names() else folder / source
    if not path.is_file():
        where = f"{asked}no configuration named '{source}', and no such file"
        raise UnknownNameError(f"{where}. There are: {', '.join(names())}.")
    return path


def _read(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    if path.resolve() in (file.resolve() for file in above):
        way = " extends ".join(str(file) for file in (*above, path))
        raise OptionError(f"{way}: a configuration cannot extend itself; take 'extends' out of one of these files")
    values = _yaml(path)
    base = values.pop("extends", None)
    if base is None:
        return values
    if not isinstance(base, str):
        raise OptionError(f"{path}: extends must name one configuration, such as `extends: laptop`, got {base!r}")
    under = _read(_find(base, path.parent, f"{path} extends '{base}': "), (*above, path))
    return _merged(under, values, str(path))


def _yaml(path: Path) -> dict[str, Any]:
    try:
        values = read_yaml(read_bytes(path, most=DOCUMENT).decode(), name=str(path))
    except (DataError, UnicodeDecodeError) as error:
        raise OptionError(f"{path} is not YAML: {error}") from None
    if not isinstance(values, dict):
        raise OptionError(f"{path} must hold keys and values such as `seeds: [0, 1]`, got {type(values).__name__}")
    return values


def _merged(under: dict[str, Any], over: dict[str, Any], where: str) -> dict[str, Any]:
    """Return the values of `under` with those of `over` on top, key by key."""
    out = dict(under)
    for key, value in over.items():
        before = out.get(key)
        if isinstance(value, dict) and isinstance(before, list):
            raise OptionError(f"{where}: {key} changes what is a list there, which is replaced as a whole; give a list")
        out[key] = (
            _merged(before, value, f"{where}: {key}") if isinstance(value, dict) and isinstance(before, dict) else value
        )
    return out


def _titled(title: str, item: Any, where: str) -> dict[str, Any]:
    """Return an entry of a list from one of a mapping: its key is the name, or where that is given, the title."""
    if not isinstance(item, dict):
        raise OptionError(f"{where}: '{title}' must be a mapping such as `{{options: {{}}}}`, got {item!r}")
    return ({"title": title} if "name" in item else {"name": title}) | item
