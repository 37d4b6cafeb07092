"""Saved models come back: from a folder, or from the Hugging Face hub. Nothing in them is executed."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load as load_arrays

from embrm.core.arrays import Array
from embrm.core.data import Features, Provenance
from embrm.core.results import State
from embrm.errors import DataError
from embrm.heads import _hub
from embrm.heads._formats import other_format
from embrm.heads._head import FittedHead, Head
from embrm.heads._saved import FORMAT, PROBES

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def load_model(folder: str | Path) -> FittedHead:
    """Load a saved model and check that it still gives the scores that it gave when it was saved.

    Raises:
        DataError: the folder is no saved model, or of another format (the message then says how to fit it again), a
            file in it was changed, or its probe gives other scores.
    """
    folder = Path(folder)
    try:
        config = json.loads((folder / "config.json").read_bytes())
        tensors = (folder / "model.safetensors").read_bytes()
        probe = json.loads((folder / "probe.json").read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{folder} is not a saved model: {error}") from None
    if not isinstance(config, dict) or "format" not in config:
        raise DataError(f"{folder} is not a saved model: its config.json names no format")
    if config["format"] != FORMAT:
        raise DataError(other_format(config, folder))
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
    config = state.config
    model = Head.of({"name": config["name"], "options": config["options"]}).restore(state)
    # In one place for all heads: one that rebuilds itself out of its children knows no embedder or record of its own.
    return dataclasses.replace(model, embedder=Provenance.of(config["embedder"]), record=config["record"])


def _unnest(config: dict[str, Any], arrays: dict[str, Array], prefix: str = "") -> State:
    children = {name: _unnest(child, arrays, f"{prefix}{name}/") for name, child in config["children"].items()}
    return State(config, {name: arrays[prefix + name] for name in config["arrays"]}, children)


def from_pretrained(
    repo_id: str,
    *,
    revision: str | None = None,
    cache_dir: str | Path | None = None,
    local_files_only: bool = False,
    api: HfApi | None = None,
) -> FittedHead:
    """Load a model from the Hugging Face hub, or from its local cache where the hub cannot be reached.

    As with `embrm.load_model`, nothing in it is executed, and its probe must give the scores that it was saved with.

    Args:
        repo_id: `"owner/name"`.
        revision: a branch, tag or commit; only a commit always gives the same model.
        cache_dir: where downloads are kept; None is the hub client's usual place.
        local_files_only: whether to look only there.
        api: the hub's client; None takes the address and token of the environment and `hf auth login`.

    Raises:
        DataError: there is no such model, it cannot be reached and is not in the cache, or it is not one that
            `FittedHead.push_to_hub` wrote.
    """
    return load_model(
        _hub.fetch(repo_id, revision=revision, cache_dir=cache_dir, local_files_only=local_files_only, api=api)
    )
