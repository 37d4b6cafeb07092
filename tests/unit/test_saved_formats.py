"""Folders of other formats are refused with what they are, who wrote them, and the command that fits them again."""

from __future__ import annotations

import itertools
import json
import shlex
from pathlib import Path
from typing import Any

import pytest

from embrm import heads, load_model
from embrm.core.recipe import make
from embrm.core.settings import read_settings
from embrm.core.version import __version__
from embrm.errors import DataError
from embrm.heads import Head
from embrm.heads._formats import other_format


def format_1(head: str, options: dict[str, Any], **record: Any) -> dict[str, Any]:
    """Return the config.json that format 1 wrote for a head."""
    return {
        "format": 1,
        "embrm": "0.1.0",
        "sha256": "0" * 64,
        "head": head,
        "options": options,
        "width": 64,
        "embedder": "hashing dimension=64",
        "record": {"pairs": 64, **record},
        "arrays": ["coefficients", "reference"],
        "children": {},
    }


def words(message: str) -> list[str]:
    """Return the words of the command that a message gives."""
    return shlex.split(message.partition("fit it again: ")[2])


def options(command: list[str], flag: str) -> list[str]:
    return [value for name, value in itertools.pairwise(command) if name == flag]


def test_a_folder_as_format_1_wrote_it(tmp_path: Path) -> None:
    folder = tmp_path / "my model"
    folder.mkdir()
    source = {"embedder": "hashing", "settings": ["dimension=64"]}
    linear = {"view": "joint", "prior_precision": 1e-05, "members": 3, "validation_fraction": 0.15}
    (folder / "config.json").write_text(json.dumps(format_1("linear", linear, source=source)))
    (folder / "model.safetensors").write_bytes(b"")
    (folder / "probe.json").write_text(json.dumps({"inputs": {}, "draws": []}))
    with pytest.raises(DataError) as refused:
        load_model(folder)
    message = str(refused.value)
    assert message == (
        f"{folder} was saved by embrm 0.1.0 in format 1, and embrm {__version__} reads format 3; fit it again: embrm "
        "fit PAIRS.jsonl --head linear --set prior_precision=1.0e-05 --set members=3 --embedder hashing "
        f"--embedder-set dimension=64 -o '{folder}'"
    )
    recipe = make(heads.registry, "linear", read_settings(options(words(message), "--set")))
    assert recipe == heads.get("linear")(prior_precision=1e-5, members=3)


def test_wrapped_heads_keep_what_was_changed_of_them() -> None:
    base = {"head": "linear", "options": {"view": "joint", "prior_precision": None, "members": 2}}
    config = format_1("ensemble", {"view": "joint", "base": base, "members": 4, "diversity": "bootstrap", "views": []})
    command = words(other_format(config, Path("m")))
    assert options(command, "--embedder") == ["NAME"]  # fitted in Python, which said nothing of it
    typed = options(command, "--set")
    assert typed == ["base=linear", "base.members=2", "members=4", "diversity=bootstrap"]
    expected = heads.get("ensemble")(base=heads.get("linear")(members=2), members=4, diversity="bootstrap")
    assert make(heads.registry, "ensemble", read_settings(typed)) == expected


def test_vectors_made_elsewhere_and_options_that_are_gone() -> None:
    config = format_1("mlp", {"epochs": 3, "hidden": [8], "vanished": 7.0}, source={"embedder": None, "settings": []})
    message = other_format(config, Path("m"))
    assert "--head mlp --set epochs=3 --set 'hidden=[8]' --features VECTORS.npy -o m" in message
    assert message.endswith("(options that are named otherwise now: vanished=7.0)")
    assert Head.of("mlp")


def test_options_of_gradient_heads_that_are_kinds_now() -> None:
    """What was at its default is not named, whether the option is gone, moved to a trunk, or turned off by a word."""
    training = {"flip_rate": None, "clip": 10.0, "reweight": "none", "temperature": 1.0, "rank_bonus": 0.0}
    training |= {"pessimism": 0.0, "pool_draws": 8, "epochs": 20, "diversity": "seed", "loss": "bt"}
    message = other_format(format_1("mlp", training), Path("m"))
    assert message.endswith("--head mlp --embedder NAME -o m")
    message = other_format(format_1("mlp", training | {"loss": "rdpo", "flip_rate": 0.2}), Path("m"))
    assert message.endswith(
        "--set loss=rdpo --embedder NAME -o m (options that are named otherwise now: flip_rate=0.2)"
    )
    brme = training | {"diversity": "bootstrap", "refits": 16, "hidden": [128, 64], "stage2": "marginal_bt"}
    message = other_format(format_1("brme", brme | {"patience": 5}), Path("m"))
    assert message.endswith(
        "--set stage2=marginal_bt --embedder NAME -o m (options that are named otherwise now: patience=5)"
    )


def test_a_head_that_is_not_installed() -> None:
    message = other_format(format_1("stranger", {"size": 3}), Path("m"))
    assert "--head stranger --set size=3 --embedder NAME -o m" in message


@pytest.mark.parametrize("found", [4, "x"])
def test_a_newer_format_asks_for_a_newer_embrm(found: Any) -> None:
    config = {**format_1("linear", {}), "format": found, "embrm": "9.1"}
    message = other_format(config, Path("m"))
    assert message.startswith(f"m was saved by embrm 9.1 in format {found}, and embrm {__version__} reads format 3;")
    assert message.endswith("pip install --upgrade embrm")


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    for name, text in (("config.json", "{}"), ("model.safetensors", ""), ("probe.json", "{}")):
        (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=r"is not a saved model: its config\.json names no format"):
        load_model(tmp_path)
