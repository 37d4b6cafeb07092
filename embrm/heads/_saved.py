"""Saved models: config.json, model.safetensors, probe.json, a manifest of these, and a card. Never pickle."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save as save_arrays

from embrm.core.data import Features
from embrm.core.files import write_bytes, write_folder
from embrm.core.results import Reward, State
from embrm.core.seen import SAVED
from embrm.core.settings import write_settings
from embrm.core.version import __version__
from embrm.errors import DataError
from embrm.heads._manifest import CONFIG, MANIFEST, PROBE, TENSORS, manifest_of
from embrm.heads._registry import registry
from embrm.heads._schema import FORMAT, PROBES


def save(state: State, folder: Path, *, widths: Mapping[str, int], score: Callable[[Features], Reward]) -> None:
    """Write a model; the folder appears whole or not at all.

    Args:
        state: the model as plain data.
        folder: where.
        widths: the views that it reads, and their columns.
        score: what it says of features, for the probe.

    Raises:
        DataError: the record or an option holds what JSON has not, or the scores of the probe are not finite.
    """
    arrays = {name: np.ascontiguousarray(a) for name, a in state.flat()}
    config = {"format": FORMAT, "embrm": __version__, **_nest(state)}
    rng = np.random.default_rng(0)
    inputs = {v: rng.standard_normal((PROBES, d)).astype(np.float32) for v, d in sorted(widths.items())}
    draws = score(Features(inputs, prompt=np.arange(PROBES))).draws
    probe = {"inputs": {view: x.tolist() for view, x in inputs.items()}, "draws": draws.tolist()}
    files = {
        CONFIG: _as_json(config, indent=2, nan=True),  # of a record, such as an interval of too few prompts
        TENSORS: save_arrays(arrays),
        PROBE: _as_json(probe, indent=None, nan=False),
    }
    with write_folder(folder) as temporary:
        for name, data in files.items():
            write_bytes(temporary / name, data)
        write_bytes(temporary / MANIFEST, manifest_of(files))
        write_bytes(temporary / "README.md", _card(state).encode())


def _as_json(value: Any, *, indent: int | None, nan: bool) -> bytes:
    try:
        return json.dumps(value, indent=indent, allow_nan=nan).encode()
    except (TypeError, ValueError) as error:
        raise DataError(f"the model cannot be saved, as its record would not be read again: {error}") from error


def _nest(state: State) -> dict[str, Any]:
    return {
        **state.config,
        "arrays": sorted(state.arrays),
        "children": {k: _nest(v) for k, v in state.children.items()},
    }


def _card(state: State) -> str:
    config = state.config
    options = "\n".join(f"- `{setting}`" for setting in write_settings(config["options"]))
    recipe = config["embedder"]["recipe"]
    maker = f"`{' '.join([recipe['name'], *write_settings(recipe['options'])])}`" if recipe else "something not named"
    if SAVED[0] in state.arrays:
        texts, prompts = (len(state.arrays[name]) for name in SAVED)
        known = (
            f"The model keeps hashes of its {texts} training texts and {prompts} prompts, by which `embrm evaluate`, "
            "`detect` and `rewardbench` report rows that it was not trained on apart.\n\n"
        )
    else:
        known = ""
    read = config["record"].get("data", {})  # what became of the rows of its file, where a command fitted it
    rows = "".join(f"- {name.replace('_', ' ')}: {value}\n" for name, value in read.items() if value)
    rows += "\n" if rows else ""
    data = f"## Training data\n\n{rows}{known}" if rows or known else ""
    return (
        f"---\nlibrary_name: embrm\ntags:\n- reward-model\n- embrm\n---\n\n# Reward head `{config['name']}`\n\n"
        f"{registry.describe(config['name'])}\n\nIt reads vectors of width {config['width']} made by {maker}.\n\n"
        f"## Options\n\n{options}\n\n{data}## Use\n\n"
        '```python\nimport embrm\n\nmodel = embrm.load_model("this-folder")\nreward = model.score(vectors)\n```\n'
    )
