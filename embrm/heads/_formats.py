"""Saved models of other formats: who wrote them, and the command that fits them again."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from embrm.core.recipe import changed
from embrm.core.settings import write_settings
from embrm.core.version import __version__
from embrm.errors import EmbrmError
from embrm.heads._head import Head
from embrm.heads._schema import FORMAT

# Defaults of options of format 1 that are kinds with numbers of their own now, or an option of such a kind.
FORMAT_1: Mapping[str, Any] = {
    "loss": "bt",
    "flip_rate": None,
    "clip": 10.0,
    "extra_margin": 1.0,
    "reweight": "none",
    "temperature": 1.0,
    "rank_bonus": 0.0,
    "pessimism": 0.0,
    "pool_draws": 8,
    "head_learning_rate": 0.01,
    "refits": 16,
    "sigma_prior": 0.5,
    "sigma_weight": 0.05,
}


def other_format(config: Mapping[str, Any], folder: Path) -> str:
    """Return what a saved model of another format is and what to do about it.

    Args:
        config: what stands in its config.json.
        folder: where it is.
    """
    found, writer = config["format"], config.get("embrm", "of an unknown version")
    here = (
        f"{folder} was saved by embrm {str(writer)[:40]} in format {str(found)[:40]}, and embrm {__version__} reads "
        f"format {FORMAT}"
    )
    if not isinstance(found, int) or found > FORMAT:
        return f"{here}; install the embrm that wrote it, or a newer one: pip install --upgrade embrm"
    return f"{here}; fit it again: {_command(config, folder)}"


def _command(config: Mapping[str, Any], folder: Path) -> str:
    """Return the command as far as the older formats tell; format 1 named a head by the key "head"."""
    name = str(config.get("head", config.get("name", "NAME")))
    options, gone = _differing(name, _mapping(config.get("options")))
    words = ["embrm", "fit", "PAIRS.jsonl", "--head", name]
    words += [word for setting in write_settings(options) for word in ("--set", setting)]
    command = shlex.join([*words, *_source(config), "-o", str(folder)])
    return f"{command} (options that are named otherwise now: {', '.join(gone)})" if gone else command


def _source(config: Mapping[str, Any]) -> list[str]:
    """Return the words that say where the vectors came from."""
    source = _mapping(config.get("record")).get("source")
    recipe = _mapping(config.get("embedder")).get("recipe")
    if isinstance(recipe, Mapping):  # format 2
        source = {"embedder": recipe.get("name"), "settings": write_settings(_mapping(recipe.get("options")))}
    if not isinstance(source, Mapping):  # fitted in Python
        return ["--embedder", "NAME"]
    if source.get("embedder") is None:
        return ["--features", "VECTORS.npy"]
    typed = source.get("settings")
    settings = [str(setting) for setting in typed] if isinstance(typed, list) else []
    return ["--embedder", str(source["embedder"]), *(w for setting in settings for w in ("--embedder-set", setting))]


def _mapping(value: Any) -> Mapping[str, Any]:
    """Return what a damaged file has where a mapping should be, or else an empty one."""
    return value if isinstance(value, Mapping) else {}


def _differing(name: str, options: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Return the options that are not the head's defaults, and those that it does not have by that name."""
    try:
        default = Head.of(name)
    except EmbrmError:  # of a package that is not installed
        return dict(options), []
    fields = {field.name for field in dataclasses.fields(default) if field.init}
    inner_heads = [value for value in vars(default).values() if isinstance(value, Head)]  # such as a trunk
    moved = {name: value for head in inner_heads for name, value in head.options().items()} | dict(FORMAT_1)
    differing: dict[str, Any] = {}
    gone: list[str] = []
    for option, value in options.items():
        if option not in fields:
            gone += [] if moved.get(option, ...) == value else write_settings({option: value})
        elif FORMAT_1.get(option, ...) == value:
            continue
        elif isinstance(value, Mapping) and isinstance(value.get("head"), str):
            inner, further = _differing(value["head"], _mapping(value.get("options")))
            differing[option] = {"name": value["head"], "options": inner}
            gone += [f"{option}.{setting}" for setting in further]
        elif not _is_default(default, option, value):
            differing[option] = value
    return differing, gone


def _is_default(recipe: Head, option: str, value: Any) -> bool:
    try:
        return changed(recipe, {option: value}) == recipe
    except EmbrmError:  # alone it cannot be; with the others it may
        return False
