"""The configuration of full-size models in small, without any file: the world's own model writes, TRL trains it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from embrm.cli import run
from embrm.study.metric import Metric
from embrm.study.results import Results
from embrm.world import World

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # those of TRL and transformers


@pytest.fixture
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder without any file, and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMBRM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


@pytest.mark.usefixtures("_elsewhere")
def test_the_study_runs_to_its_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["study", "--config", "gpu-tiny", "-o", "out", "--workers", "1"]) == 0, capsys.readouterr().err
    results = Results.load(Path("out"))
    assert not results.failures
    (row,) = results.select(kind="rl")
    assert row.arrays[Metric("run", "gold")].shape == (12,)
    assert np.isfinite(row.arrays[Metric("run", "kl")]).all()
    assert row.notes["attributes"] == [*World.load().attributes, "unknown"]
    assert row.arrays[Metric("latent")].shape == (12, 32, 2)
    assert {len(step["sample"]) > 0 for step in row.notes["steps"]} == {True}
    pool = results.stack(Metric("bon", "mean"), head="inform", dataset="tiny")
    assert pool is not None
    assert np.isfinite(pool).all()
    assert "What published claims come to" in Path("out/report.html").read_text(encoding="utf-8")


@pytest.mark.usefixtures("_elsewhere")
def test_a_model_that_cannot_be_reached_says_how_to_give_a_path(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["study", "--config", "gpu-tiny", "-o", "out", "--set", "datasets.0.policy.model=gone"]) == 2
    assert "gone" in capsys.readouterr().err
    assert run(["study", "--config", "gpu-tiny", "-o", "out", "--set", "datasets.0.policy.top_p=2"]) == 2
    assert "dataset 'tiny': policy: top_p must be in (0, 1], got 2" in capsys.readouterr().err
