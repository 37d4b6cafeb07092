"""Saved models: a folder with config.json, model.safetensors, probe.json and a model card. Never pickle."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load as load_arrays
from safetensors.numpy import save as save_arrays

from embrm.errors import DataError
from embrm.files import write_bytes, write_folder
from embrm.heads import registry
from embrm.heads._head import FittedHead, Head
from embrm.outcomes import State
from embrm.types import Array, Features

FORMAT = 1
PROBES = 4


def save(model: FittedHead, folder: Path) -> None:
    """Write the model; the folder appears whole or not at all."""
    from embrm import __version__

    state = model.state()
    arrays = {name: np.ascontiguousarray(a) for name, a in state.flat()}
    tensors = save_arrays(arrays)
    config = {"format": FORMAT, "embrm": __version__, "sha256": hashlib.sha256(tensors).hexdigest(), **_nest(state)}
    rng = np.random.default_rng(0)
    inputs = {v: rng.standard_normal((PROBES, d)).astype(np.float32) for v, d in sorted(model.widths.items())}
    draws = model.score(Features(inputs, prompt=np.arange(PROBES))).draws
    probe = {"inputs": {view: x.tolist() for view, x in inputs.items()}, "draws": draws.tolist()}
    with write_folder(folder) as temporary:
        write_bytes(temporary / "model.safetensors", tensors)
        write_bytes(temporary / "config.json", json.dumps(config, indent=2).encode())
        write_bytes(temporary / "probe.json", json.dumps(probe).encode())
        write_bytes(temporary / "README.md", _card(state).encode())


def load_model(folder: str | Path) -> FittedHead:
    """Load a saved model and check that it still gives the scores that it gave when it was saved.

    Raises:
        DataError: the folder is no saved model, a file in it was changed, or its probe gives other scores.
    """
    folder = Path(folder)
    try:
        config = json.loads((folder / "config.json").read_bytes())
        tensors = (folder / "model.safetensors").read_bytes()
        probe = json.loads((folder / "probe.json").read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} is not a saved model: {error}") from None
    if not isinstance(config, dict) or config.get("format") != FORMAT:
        raise DataError(f"{folder} is not a saved model of format {FORMAT}; fit and save it again")
    if hashlib.sha256(tensors).hexdigest() != config.get("sha256"):
        raise DataError(
            f"{folder}/model.safetensors is not the file that was saved (its SHA-256 differs); save it again"
        )
    model = restore(_unnest(config, load_arrays(tensors)))
    inputs = {view: np.asarray(x, dtype=np.float32) for view, x in probe["inputs"].items()}
    draws = model.score(Features(inputs, prompt=np.arange(PROBES))).draws
    if not np.allclose(draws, probe["draws"], rtol=1e-3, atol=1e-4):
        worst = float(np.abs(draws - np.asarray(probe["draws"])).max())
        raise DataError(f"{folder} fails its probe: scores differ by up to {worst:.3g} from those saved; save it again")
    return model


def restore(state: State) -> FittedHead:
    """Rebuild any fitted head from its state."""
    return Head.of({"head": state.config["head"], "options": state.config["options"]}).restore(state)


def _nest(state: State) -> dict[str, Any]:
    return {
        **state.config,
        "arrays": sorted(state.arrays),
        "children": {k: _nest(v) for k, v in state.children.items()},
    }


def _unnest(config: dict[str, Any], arrays: dict[str, Array], prefix: str = "") -> State:
    children = {name: _unnest(child, arrays, f"{prefix}{name}/") for name, child in config["children"].items()}
    return State(config, {name: arrays[prefix + name] for name in config["arrays"]}, children)


def _card(state: State) -> str:
    config = state.config
    options = "\n".join(f"- `{k}`: {v}" for k, v in config["options"].items())
    return (
        f"---\nlibrary_name: embrm\ntags:\n- reward-model\n- embrm\n---\n\n# Reward head `{config['head']}`\n\n"
        f"{registry.describe(config['head'])}\n\nIt reads vectors of width {config['width']} made by "
        f"`{config['embedder'] or 'an embedder that was not named'}`.\n\n## Options\n\n{options}\n\n## Use\n\n"
        '```python\nimport embrm\n\nmodel = embrm.load_model("this-folder")\nreward = model.score(vectors)\n```\n'
    )
