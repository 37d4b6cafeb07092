"""Commands that take long say how far they are, and one whose model is absent does not wait for it."""

from __future__ import annotations

import inspect
import sys
import time
from collections.abc import Callable

import pytest

from embrm.embedders import minilm
from embrm.heads import FittedHead
from tests.cli.conftest import Result

Embrm = Callable[..., Result]
FIT = ["fit", "prefs.jsonl", "--head", "mlp", "--set", "epochs=2"]


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        ([*FIT, "--embedder", "hashing", "-o", "new"], ["epochs", "chunks", "resamples"]),
        (["detect", "model", "prefs.jsonl", "pools.jsonl", "--detector", "mmd"], ["chunks", "permutations"]),
        (["claims", "runs/study"], ["claims"]),
    ],
    ids=["fit", "detect", "claims"],
)
def test_what_takes_long_has_a_bar_on_a_terminal(
    words: list[str], shown: list[str], embrm: Embrm, monkeypatch: pytest.MonkeyPatch
) -> None:
    def bars(*more: str) -> set[str]:
        done = embrm(*words, *more)
        assert done.code in (0, 3), done.err
        return {name for name in ("epochs", "chunks", "resamples", "permutations", "claims") if f"{name}: " in done.err}

    monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: True)
    assert not bars()  # all of it takes less than two seconds
    monkeypatch.setattr("embrm.cli._progress.SILENT", 0.0)
    monkeypatch.setattr("embrm.metrics.intervals._ENTRIES", 1)  # so few rows are one block, which has no bar
    monkeypatch.setitem(inspect.unwrap(FittedHead.score).__kwdefaults__, "chunk", 1)
    assert bars() == set(shown)
    assert not bars("--quiet")
    monkeypatch.setattr(type(sys.stderr), "isatty", lambda self: False)
    assert not bars()


@pytest.mark.parametrize(
    ("embedder", "comes"),
    [
        (["minilm", "--embedder-set", "max_length=99"], "pip install 'embrm[offline]'"),  # as no other test
        (["sentence_transformer", "--embedder-set", "model=nobody/nothing"], "hf download nobody/nothing"),
        (["causal_lm", "--embedder-set", "model=nobody/nothing"], "hf download nobody/nothing"),
    ],
    ids=["minilm", "sentence_transformer", "causal_lm"],
)
def test_a_model_that_is_absent_fails_at_once(
    embedder: list[str], comes: str, embrm: Embrm, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")  # no hub answers there
    monkeypatch.setattr(minilm, "packaged_folder", lambda: None)
    monkeypatch.setattr(minilm, "REVISION", "0" * 40)  # in nobody's copy of the hub
    start = time.process_time(), time.perf_counter()
    done = embrm(*FIT, "--embedder", *embedder, "-o", "new")
    assert done.code in (1, 2)
    assert comes in done.err
    assert "--embedder hashing" in done.err
    assert time.process_time() - start[0] < 3
    assert time.perf_counter() - start[1] < 20  # the hub's client would try again for 78 s
