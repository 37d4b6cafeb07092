"""Gradient heads on another device than the CPU: nothing is left behind there or here, and the rewards are the same."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from embrm import Candidates, Features, Pairs, Problem, heads, load_model, use_device
from embrm.core import device
from embrm.errors import OptionError
from embrm.heads.brme import GaussianNll
from embrm.heads.gradient.head import FittedNet, GradientHead
from embrm.heads.gradient.pools import PoolPessimism
from tests.elsewhere import PLACE, Elsewhere
from tests.planted import planted

FEW: dict[str, Any] = {"epochs": 5, "batch_size": 64}


def options_of(name: str) -> dict[str, Any]:
    base = heads.Head.of({"name": "mlp", "options": FEW})
    quick = {
        "ebrm": {"base": base, "steps": 50},
        "brme": {"trunk": base, "stage2": GaussianNll(refits=8), "members": 2},
        "ensemble": {"base": base, "members": 2},
        "warm": {"base": base, "members": 2},
    }
    return quick.get(name, FEW if isinstance(heads.get(name)(), GradientHead) else {})


# Every head that computes in torch, and the options that take tensors ways of their own.
GRADIENT = [
    (name, options_of(name))
    for name in heads.names()
    if isinstance(heads.get(name)(), GradientHead)
    or any(isinstance(value, GradientHead) for value in vars(heads.get(name)()).values())
]
CASES: list[tuple[str, dict[str, Any]]] = [
    *GRADIENT,
    ("laplace", {"base": heads.Head.of({"name": "inform", "options": FEW})}),
    ("brme", {"trunk": heads.get("mlp")(**FEW), "members": 2, "stage2": "marginal_bt", "freeze_trunk": False}),
    ("inform", {"kl": "released", "decoder": "gated", **FEW}),
    ("mlp", {"loss": "rdpo", **FEW}),
    ("mlp", {"members": 3, "diversity": "rank", **FEW}),
    ("mlp", {"members": 2, "diversity": "bootstrap", "reweight": "instance", "patience": 0, **FEW}),
    ("mlp", {"augment": "rrm", **FEW}),
]
every_case = pytest.mark.parametrize(("name", "options"), CASES, ids=[f"{n}-{i}" for i, (n, _) in enumerate(CASES)])


def problem() -> tuple[Pairs, Features]:
    """Return pairs with the views that the cases read."""
    pairs, _ = planted(pairs=300)
    x = pairs.features.matrix("joint")
    views = {"joint": x, "prompt": x[pairs.features.prompt], "response": x}
    features = Features(views, prompt=pairs.features.prompt, length=pairs.features.length)
    return Pairs(features, pairs.chosen, pairs.rejected), features


def rewards(model: heads.FittedHead, features: Features) -> np.ndarray:
    """Return draws, sigma where there is one, and latent in one array, each in units of its standard deviation."""
    scored = model.score(features)
    parts = [scored.draws, *([] if scored.sigma is None else [scored.sigma]), model.latent(features)]
    return np.concatenate([part.ravel() / part.std() for part in parts])


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[Elsewhere]:
    """The test device, which can be chosen like the others."""
    monkeypatch.setattr(device, "DEVICES", (PLACE.type, "cpu"))
    monkeypatch.setattr(device, "_has", lambda name: name == PLACE.type)
    optimiser = importlib.import_module("torch.optim.optimizer")
    monkeypatch.setattr(optimiser, "_get_fused_kernels_supported_devices", lambda: [PLACE.type, "cpu"])
    with Elsewhere() as mode:
        yield mode


@every_case
def test_a_fit_elsewhere_is_that_of_the_cpu(
    name: str, options: dict[str, Any], elsewhere: Elsewhere, tmp_path: Path
) -> None:
    pairs, features = problem()
    head = heads.get(name)(**options)
    with use_device("cpu"):
        expected = rewards(head.fit(pairs, seed=0), features)
    assert elsewhere.there == 0
    elsewhere.here = 0
    with use_device(PLACE.type):
        model = head.fit(pairs, seed=0)
        there = rewards(model, features)
        model.save(tmp_path / "model")
    assert elsewhere.there > 100
    assert elsewhere.here <= 4  # only starts are carried over to scaled features on the CPU, one product a member
    np.testing.assert_allclose(there, expected, atol=1e-3)
    with use_device("cpu"):  # a saved model names no device
        np.testing.assert_allclose(rewards(load_model(tmp_path / "model"), features), expected, atol=1e-3)


def test_refining_on_pools_elsewhere_is_that_of_the_cpu(elsewhere: Elsewhere) -> None:
    pairs, features = problem()
    pairs, held = pairs.split(0.2, seed=0)
    x = np.random.default_rng(1).normal(size=(100, 12)).astype(np.float32)
    pools = Candidates(Features({"joint": x}, prompt=np.repeat(np.arange(5), 20)), np.arange(0, 101, 20))
    found = []
    for name in ("cpu", PLACE.type):
        with use_device(name):
            model = heads.get("mlp")(**FEW).fit(pairs, seed=0)
            assert isinstance(model, FittedNet)
            refined = model.refine(pairs, seed=1, pools=pools, pessimism=PoolPessimism(1.0), validation=held)
            found.append(rewards(refined, features))
            assert refined.record["device"] == name
    np.testing.assert_allclose(found[1], found[0], atol=1e-3)


def test_features_are_moved_once_however_many_problems_read_them(
    elsewhere: Elsewhere, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, features = problem()
    moved: list[torch.Size] = []
    to = torch.Tensor.to

    def counted(tensor: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        moved.append(tensor.shape)
        return to(tensor, *args, **kwargs)

    monkeypatch.setattr(torch.Tensor, "to", counted)
    with use_device(PLACE.type):
        heads.get("mlp")(**FEW).fit_many([Problem(pairs, seed) for seed in range(3)])
    assert moved.count(torch.Size(features.matrix("joint").shape)) == 1


def test_a_tensor_that_was_left_behind_is_noticed() -> None:
    with Elsewhere():
        there = torch.ones(2, 3).to(PLACE)
        with pytest.raises(RuntimeError, match="lie on the CPU, others elsewhere"):
            there + torch.ones(3)
        with pytest.raises(RuntimeError, match="not supported"):
            there.numpy()
        np.testing.assert_array_equal((there + 1).cpu().numpy(), np.full((2, 3), 2.0))


def test_the_setting_ends_with_its_block_and_reaches_worker_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EMBRM_DEVICE", raising=False)
    with use_device("auto"):
        with use_device("cpu"):
            assert os.environ["EMBRM_DEVICE"] == "cpu"  # the environment is what worker processes inherit
            assert device.torch_device() == torch.device("cpu")
        assert os.environ["EMBRM_DEVICE"] == "auto"
    assert "EMBRM_DEVICE" not in os.environ


def test_auto_is_the_cpu_where_there_is_no_accelerator_and_cuda_where_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for setting in ("auto", ""):
        monkeypatch.setenv("EMBRM_DEVICE", setting)
        for there in (False, True):
            monkeypatch.setattr(device, "_has", lambda name, there=there: there)
            assert device.torch_device().type == ("cuda" if there else "cpu")


def test_a_device_that_is_not_there_or_unknown_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs, _ = problem()
    with pytest.raises(OptionError, match="device must be one of auto, cpu, cuda, mps, got 'gpu'"), use_device("gpu"):
        pass
    monkeypatch.setattr(device, "_has", lambda _: False)
    for name in ("cuda", "mps"):
        with pytest.raises(OptionError, match=f"device '{name}' was asked for, and torch finds none"), use_device(name):
            pass
    monkeypatch.setenv("EMBRM_DEVICE", "cuda")
    with pytest.raises(OptionError, match="use 'auto' or 'cpu'"):
        heads.get("mlp")(**FEW).fit(pairs, seed=0)
    monkeypatch.setenv("EMBRM_DEVICE", "gpu")
    with pytest.raises(OptionError, match="got 'gpu'"):
        heads.get("mlp")(**FEW).fit(pairs, seed=0)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA accelerator")
@every_case
def test_a_fit_on_cuda_is_that_of_the_cpu(name: str, options: dict[str, Any]) -> None:
    pairs, features = problem()
    head = heads.get(name)(**options)
    with use_device("cpu"):
        expected = rewards(head.fit(pairs, seed=0), features)
    with use_device("cuda"):
        found = rewards(head.fit(pairs, seed=0), features)
    np.testing.assert_allclose(found, expected, atol=1e-3)
