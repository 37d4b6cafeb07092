"""The configuration of full-size models, with tiny ones: a language model writes, a reward model judges, TRL trains."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from embrm.cli import run
from embrm.study.config import load_config
from embrm.study.metric import Metric
from embrm.study.results import Results
from embrm.world import World
from tests import tiny_models

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]  # those of TRL and transformers


@pytest.fixture
def _models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models and prompts where the configuration looks for them, and a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMBRM_CACHE", str(tmp_path / "cache"))
    tiny_models.causal_lm(tmp_path / "lm")
    tiny_models.reward_model(tmp_path / "rm")
    questions = [question for topic in World.load().spec.topics for question in topic.questions]
    rows = (json.dumps({"prompt": question}) for question in questions[:60])
    (tmp_path / "prompts.jsonl").write_text("\n".join(rows), encoding="utf-8")


@pytest.mark.usefixtures("_models")
def test_the_study_runs_to_its_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["study", "--config", "gpu-tiny", "-o", "out", "--workers", "1"]) == 0, capsys.readouterr().err
    results = Results.load(Path("out"))
    assert not results.failures
    (row,) = results.select(kind="rl")
    assert row.arrays[Metric("run", "gold")].shape == (5,)
    assert np.isfinite(row.arrays[Metric("run", "kl")]).all()
    assert row.arrays[Metric("latent")].shape == (5, 8, 2)
    assert {len(step["sample"]) > 0 for step in row.notes["steps"]} == {True}
    pool = results.stack(Metric("bon", "mean"), head="inform", dataset="tiny")
    assert pool is not None
    assert np.isfinite(pool).all()
    assert "What published claims come to" in Path("out/report.html").read_text(encoding="utf-8")


def test_only_values_differ_from_the_full_size() -> None:
    full, tiny = (load_config(name).model_dump(exclude_unset=True) for name in ("gpu", "gpu-tiny"))
    assert full.keys() == tiny.keys()
    (large,), (small,) = full["datasets"], tiny["datasets"]
    assert large["kind"] == small["kind"] == "language_model"
    assert small.keys() <= large.keys()


@pytest.mark.usefixtures("_models")
def test_a_model_that_cannot_be_reached_says_how_to_give_a_path(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["study", "--config", "gpu-tiny", "-o", "out", "--set", "datasets.0.policy.model=gone"]) == 2
    assert "gone" in capsys.readouterr().err
    assert run(["study", "--config", "gpu-tiny", "-o", "out", "--set", "datasets.0.policy.top_p=2"]) == 2
    assert "dataset 'tiny': policy: top_p must be in (0, 1], got 2" in capsys.readouterr().err
