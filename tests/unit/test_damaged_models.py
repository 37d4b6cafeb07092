"""Saved models that somebody changed, with or without knowing of the manifest: DataError, and nothing else."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from embrm import heads, load_model
from embrm.core.data import Pairs
from embrm.errors import DataError
from tests.fuzz.mutations import damaged_bytes, damaged_value, dumped
from tests.sealed_model import seal

RECIPES: dict[str, dict[str, Any]] = {
    "linear": {"members": 7},
    "boosting": {"members": 2, "iterations": 5},
    "ensemble": {"members": 2, "base": {"name": "linear", "options": {}}},
    "mlp": {"epochs": 1, "hidden": (4,)},
    "inform": {"epochs": 1, "members": 2},
    "dropout": {"epochs": 1, "passes": 2},
    "laplace": {},
    "brme": {"members": 2, "trunk": {"name": "mlp", "options": {"epochs": 1, "hidden": [4]}}},
    "ebrm": {"steps": 2, "base": {"name": "linear", "options": {}}},
    "warm": {"members": 2, "epochs": 1, "base": {"name": "mlp", "options": {"epochs": 1, "hidden": [4]}}},
}
QUICK = ("linear", "boosting", "ensemble", "mlp")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Give what fits and saves a head once and returns its folder."""
    room = tmp_path_factory.mktemp("models")
    rng = np.random.default_rng(0)
    pairs = Pairs.from_arrays(
        rng.normal(size=(160, 3)), chosen=np.arange(80), rejected=np.arange(80, 160), prompt=np.tile(np.arange(80), 2)
    )

    def folder(name: str) -> Path:
        if not (room / name).exists():
            recipe = heads.Head.of({"name": name, "options": RECIPES[name]})
            recipe.fit(pairs, seed=0).save(room / name)
        return room / name

    return folder


@pytest.fixture
def copied(saved: Callable[[str], Path], tmp_path: Path) -> Callable[[str], Path]:
    """Give what copies a saved head to a fresh folder."""
    return lambda name: Path(shutil.copytree(saved(name), tmp_path / name))


def change(folder: Path, **changed: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | changed))
    seal(folder)


def change_arrays(folder: Path, **changed: Any) -> None:
    arrays = load_file(folder / "model.safetensors")
    save_file({**arrays, **{name: np.asarray(a) for name, a in changed.items()}}, folder / "model.safetensors")
    seal(folder)


def loads(folder: Path) -> bool:
    """Say whether a model is loaded; whatever is not DataError goes through."""
    try:
        load_model(folder)
    except DataError:
        return False
    return True


@pytest.mark.parametrize("name", RECIPES)
def test_what_was_saved_is_loaded(name: str, saved: Callable[[str], Path]) -> None:
    model, x = load_model(saved(name)), np.random.default_rng(1).normal(size=(5, 3))
    model.save(saved(name).with_name(f"{name} again"))
    again = load_model(saved(name).with_name(f"{name} again"))
    np.testing.assert_array_equal(again.score(x).draws, model.score(x).draws)


def flips(folder: Path, count: int, *, seed: int) -> dict[str, int]:
    """Damage config.json many times, and return how often the model was refused and loaded."""
    rng, found = random.Random(seed), {"refused": 0, "loaded": 0}
    file = folder / "config.json"
    whole, manifest = file.read_bytes(), (folder / "manifest.json").read_bytes()
    before, x = load_model(folder), np.random.default_rng(1).normal(size=(5, 3))
    for number in range(count):
        if number % 3:
            file.write_bytes(dumped(damaged_value(json.loads(whole), rng)))
        else:
            file.write_bytes(damaged_bytes(whole, rng))
        (folder / "manifest.json").write_bytes(manifest)
        assert loads(folder) is (file.read_bytes() == whole)
        seal(folder)
        try:
            model = load_model(folder)
        except DataError:
            found["refused"] += 1
        else:  # such as another number in the record: what it scores is what it scored
            found["loaded"] += 1
            np.testing.assert_allclose(model.score(x).draws, before.score(x).draws, rtol=1e-2, atol=1e-3)
    return found


@pytest.mark.parametrize("name", QUICK)
def test_a_damaged_config_is_refused_or_changes_no_score(name: str, copied: Callable[[str], Path]) -> None:
    assert flips(copied(name), 40, seed=0)["refused"] > 15


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_many_damaged_configs(name: str, copied: Callable[[str], Path]) -> None:
    assert flips(copied(name), 200, seed=1)["refused"] > 80


@pytest.mark.parametrize("name", ["linear", "boosting"])
@pytest.mark.parametrize("file", ["model.safetensors", "probe.json", "manifest.json"])
def test_other_damaged_files_are_refused_or_change_nothing(name: str, file: str, copied: Callable[[str], Path]) -> None:
    folder, rng = copied(name), random.Random(2)
    whole = (folder / file).read_bytes()
    for _ in range(40):
        (folder / file).write_bytes(damaged_bytes(whole, rng))
        if file != "manifest.json":
            seal(folder)
        loads(folder)
    (folder / file).write_bytes(whole)
    seal(folder)
    assert loads(folder)


def test_nodes_in_a_circle_are_refused(copied: Callable[[str], Path]) -> None:
    folder = copied("boosting")
    left = load_file(folder / "model.safetensors")["0.left"].copy()
    left[-1] = 0
    change_arrays(folder, **{"0.left": left})
    with pytest.raises(DataError, match="lead nowhere, in circles"):
        load_model(folder)


def test_columns_that_are_not_there_are_refused(copied: Callable[[str], Path]) -> None:
    folder = copied("boosting")
    change_arrays(folder, **{"0.feature": np.full_like(load_file(folder / "model.safetensors")["0.feature"], 3)})
    with pytest.raises(DataError, match="read columns that are not there"):
        load_model(folder)


def test_whole_numbers_are_whole(copied: Callable[[str], Path]) -> None:
    folder = copied("boosting")
    change_arrays(folder, **{"0.root": load_file(folder / "model.safetensors")["0.root"].astype(np.float64)})
    with pytest.raises(DataError, match=r"'0\.root' must hold whole numbers, got float64"):
        load_model(folder)


def test_seven_members_with_one_row_are_refused(copied: Callable[[str], Path]) -> None:
    folder = copied("linear")
    change_arrays(folder, coefficients=load_file(folder / "model.safetensors")["coefficients"][:1])
    with pytest.raises(DataError, match=r"'coefficients' must have shape \(7, 3\), got \(1, 3\)"):
        load_model(folder)


def test_a_head_that_gives_one_draw_for_all_is_told(saved: Callable[[str], Path]) -> None:
    import dataclasses

    model = load_model(saved("linear"))
    one = dataclasses.replace(model, coefficients=model.arrays()["coefficients"][:1])  # type: ignore[call-arg]
    with pytest.raises(DataError, match=r"has 7 draws of each row, and gave an array \(1, 2\)"):
        one.score(np.ones((2, 3)))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"options": {}}, r"has further options: loss, members"),
        ({"name": "linaer"}, r"no head named 'linaer'\. Did you mean 'linear'"),
        ({"width": 10**12}, r"width: Input should be less than"),
        ({"width": "3"}, r"width: Input should be a valid integer"),
        ({"children": {"../x": {}}}, r"children\.\.\./x"),
        ({"arrays": ["coefficients", "reference", "more"]}, r"lacks 'more'"),
        ({"arrays": ["coefficients"]}, r"has arrays that config\.json does not name"),
        ({"arrays": ["coefficients", "reference", "reference"]}, r"an array of 'linear' is named twice"),
        ({"format": 2}, r"format: Input should be 3"),
        ({"further": 1}, r"further: Extra inputs are not permitted"),
    ],
)
def test_what_is_wrong_with_a_config_is_named(changed: Any, message: str, copied: Callable[[str], Path]) -> None:
    folder = copied("linear")
    change(folder, **changed)
    with pytest.raises(DataError, match=message):
        load_model(folder)


def test_parts_that_were_added_are_refused(copied: Callable[[str], Path]) -> None:
    folder = copied("linear")
    config = json.loads((folder / "config.json").read_text())
    part = {name: config[name] for name in ("name", "options", "width", "embedder", "record")}
    change(folder, children={"base": {**part, "arrays": [], "children": {}}})
    with pytest.raises(DataError, match="has other options, arrays or parts"):
        load_model(folder)


@pytest.mark.parametrize(
    ("probe", "message"),
    [
        ({"inputs": {"joint": [[0.0, 0.0, 0.0]]}, "draws": [[0.0]]}, "must have 4 rows of each view"),
        ({"inputs": {"joint": [[0.0], [1.0, 2.0]]}, "draws": [[0.0]]}, "must be rows of one length"),
        ({"inputs": {}, "draws": []}, "inputs.*at least 1 item"),
        ({"inputs": {"joint": [[1e400] * 3] * 4}, "draws": [[0.0] * 4] * 7}, "must be finite"),
        ({"inputs": {"joint": [[0.0] * 3] * 4}, "draws": [[9.0] * 4]}, "fails its probe"),
        ({"inputs": {"other": [[0.0] * 3] * 4}, "draws": [[9.0] * 4]}, "no view 'joint' in these features"),
    ],
)
def test_a_probe_is_checked(probe: Any, message: str, copied: Callable[[str], Path]) -> None:
    folder = copied("linear")
    (folder / "probe.json").write_text(json.dumps(probe))
    seal(folder)
    with pytest.raises(DataError, match=message):
        load_model(folder)


@pytest.mark.parametrize(
    ("manifest", "message"),
    [
        ("[]", "is no manifest of a saved model"),
        ('{"files": {}}', r"must tell of config\.json, model\.safetensors, probe\.json alone"),
        ('{"files": {"../config.json": {"bytes": 1, "sha256": "' + "0" * 64 + '"}}}', "alone, and tells of '../config"),
        ('{"files": {"config.json": {"bytes": -1, "sha256": ""}}}', "greater than or equal to 0"),
    ],
)
def test_a_manifest_names_the_files_that_are_read_alone(
    manifest: str, message: str, copied: Callable[[str], Path]
) -> None:
    folder = copied("linear")
    (folder / "manifest.json").write_text(manifest)
    with pytest.raises(DataError, match=message):
        load_model(folder)


def test_no_link_leads_out_of_the_folder(copied: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copied("linear")
    (folder / "config.json").rename(tmp_path / "elsewhere.json")
    (folder / "config.json").symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(DataError, match="is a link out of the model's folder"):
        load_model(folder)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_pipes_devices_and_sparse_files_are_refused(copied: Callable[[str], Path]) -> None:
    folder = copied("linear")
    file = folder / "config.json"
    file.unlink()
    os.mkfifo(file)
    with pytest.raises(DataError, match="is a pipe or a device"):
        load_model(folder)
    file.unlink()
    with file.open("wb") as stream:
        stream.truncate(3 << 30)
    with pytest.raises(DataError, match="more than 67108864 bytes"):
        load_model(folder)


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="this system has no such device")
def test_a_device_is_no_file() -> None:
    from embrm.core.documents import read_bytes

    with pytest.raises(DataError, match="/dev/zero is a pipe or a device"):
        read_bytes("/dev/zero")
