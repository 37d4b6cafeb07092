"""Saved models come back: from a folder, or from the Hugging Face hub. Nothing in them is executed."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from safetensors.numpy import load as load_arrays

from embrm.core.arrays import Array
from embrm.core.data import Features, Provenance
from embrm.core.documents import read_json, translated
from embrm.core.results import State
from embrm.core.seen import SAVED, TrainingTexts
from embrm.errors import DataError
from embrm.heads import _hub
from embrm.heads._formats import other_format
from embrm.heads._head import FittedHead, Head
from embrm.heads._manifest import CONFIG, MANIFEST, PROBE, TENSORS, read_files
from embrm.heads._principle import SAVED as PRINCIPLES
from embrm.heads._schema import FORMAT, PROBES, read_probe, read_record

if TYPE_CHECKING:
    from huggingface_hub import HfApi


def load_model(folder: str | Path) -> FittedHead:
    """Load a saved model and check that it still gives the scores that it gave when it was saved.

    A path that its record names, such as the folder of an embedder, is not followed: see `embrm.data.embedder_of`.

    Raises:
        DataError: the folder is no saved model, or of another format (the message then says how to fit it again), a
            file in it was changed, its parts do not fit together, or its probe gives other scores.
    """
    folder = Path(folder)
    if not (folder / MANIFEST).exists():
        raise DataError(_without_manifest(folder))
    files = read_files(folder)
    record = read_record(files[CONFIG], f"{folder}/{CONFIG}")
    inputs, draws = read_probe(files[PROBE], f"{folder}/{PROBE}")
    arrays = _arrays(files[TENSORS], f"{folder}/{TENSORS}")
    state, used = _unnest(record, arrays, str(folder))
    if set(arrays) != used:
        raise DataError(f"{folder}/{TENSORS} has arrays that {CONFIG} does not name; the model is damaged")
    why = f"does not tell of a model that can be rebuilt from {TENSORS}: it is damaged, or of a package not installed"
    model = translated(lambda: _whole(state), name=f"{folder}/{CONFIG}", why=why)
    features = Features(inputs, prompt=np.arange(PROBES))
    again = translated(lambda: model.score(features).draws, name=str(folder), why="cannot score its probe")
    if again.shape != draws.shape or not np.allclose(again, draws, rtol=1e-3, atol=1e-4):
        worst = float(np.abs(again - draws).max()) if again.shape == draws.shape else np.inf
        raise DataError(f"{folder} fails its probe: scores differ by up to {worst:.3g} from those saved; save it again")
    return model


def _without_manifest(folder: Path) -> str:
    """Return what a folder without a manifest is: a model of another format, or none."""
    try:
        config = read_json(folder / CONFIG)
    except DataError as error:
        return f"{folder} is not a saved model: {error}"
    if not isinstance(config, dict) or "format" not in config:
        return f"{folder} is not a saved model: its {CONFIG} names no format"
    if config["format"] == FORMAT:
        return f"{folder} is not a saved model: there is no {MANIFEST}; save it again"
    return other_format(config, folder)


def _arrays(data: bytes, name: str) -> dict[str, Array]:
    """Return the tensors of a file: their sizes are compared with the file's before memory is taken."""
    arrays = translated(lambda: load_arrays(data), name=name, why="is no safetensors file of numbers; it is damaged")
    for key, array in arrays.items():
        if array.dtype.kind not in "fiub" or np.isnan(array).any():
            raise DataError(f"{name}: {key!a} holds NaN, or no numbers; the model is damaged")
    return arrays


def _whole(state: State) -> FittedHead:
    """Rebuild a model, and make sure that it is all of what its state says."""
    model = restore(state)
    _check_same(model.state(), state)
    return model


def _check_same(made: State, said: State) -> None:
    """Raise DataError where a rebuilt model would be saved as another than was read: something was lost or added."""
    kept = {name: value for name, value in said.config.items() if name in made.config}
    if made.config != kept or set(made.arrays) != set(said.arrays) or set(made.children) != set(said.children):
        raise DataError(f"the head '{said.config['name']}' has other options, arrays or parts than it was read from")
    for name, child in made.children.items():
        _check_same(child, said.children[name])


def restore(state: State) -> FittedHead:
    """Rebuild any fitted head from its state.

    Raises:
        DataError: the state is not of such a head.
    """
    config = state.config
    head = Head.of({"name": config["name"], "options": config["options"]})
    missing = set(head.options()) - set(config["options"])
    if missing:
        raise DataError(f"the head '{config['name']}' has further options: {', '.join(sorted(missing))}")
    own = {name: array for name, array in state.arrays.items() if name not in (*SAVED, PRINCIPLES)}
    model = head.restore(dataclasses.replace(state, arrays=own))
    # In one place for all heads: one that rebuilds itself out of its children knows no embedder or record of its own.
    embedder = dataclasses.replace(Provenance.of(config["embedder"]), saved=True)
    model = dataclasses.replace(model, seen=TrainingTexts.read(state.arrays), principles=state.arrays.get(PRINCIPLES))
    return dataclasses.replace(model, embedder=embedder, record=config["record"])


def _unnest(config: dict[str, Any], arrays: dict[str, Array], where: str, prefix: str = "") -> tuple[State, set[str]]:
    """Return the state of a head, and the names of all arrays that are in it."""
    used = {prefix + name for name in config["arrays"]}
    if len(used) < len(config["arrays"]):
        raise DataError(f"{where}/{CONFIG}: an array of '{config['name']}' is named twice; the model is damaged")
    if not used <= set(arrays):
        lost = min(used - set(arrays))
        raise DataError(f"{where}/{TENSORS} lacks {lost!a}, which {CONFIG} names; the model is damaged")
    children: dict[str, State] = {}
    for name, child in config["children"].items():
        children[name], more = _unnest(child, arrays, where, f"{prefix}{name}/")
        used |= more
    return State(config, {name: arrays[prefix + name] for name in config["arrays"]}, children), used


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
