"""`embrm fit --device`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from embrm.core import device
from tests.cli.conftest import Result

Run = Callable[..., Result]
FIT = ("fit", "prefs.jsonl", "-o", "m", "--embedder", "hashing", "--set", "epochs=1", "--json")


def test_fit_takes_a_device_and_says_which_it_used(embrm: Run) -> None:
    assert embrm(*FIT, "--device", "cpu").json["record"]["device"] == "cpu"


def test_fit_refuses_a_device_that_is_not_there(embrm: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_has", lambda _: False)
    for asked in (("--device", "cuda"), ()):
        result = embrm(*FIT, *asked)
        assert result.code == 2
        assert "device 'cuda' was asked for, and torch finds none" in result.err
        assert not Path("m").exists()
        monkeypatch.setenv("EMBRM_DEVICE", "cuda")
    assert embrm(*FIT, "--device", "gpu").code == 2
    assert embrm(*FIT, "--device", "cpu").code == 0  # what is typed counts, not the environment
