"""Trackers: the numbers that TensorBoard's own reader finds are those of the run."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path
from typing import Any

import pytest

from embrm import cli
from embrm.core.trajectory import Trajectory
from embrm.errors import MissingExtraError, UnknownNameError
from embrm.integrations.tracking import TRACKERS, Run, tracking


def _read(folder: Path) -> Any:
    reader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    found = reader.EventAccumulator(str(folder / "tracking"))
    found.Reload()
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_finds_what_was_logged_and_the_alarm(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    with tracking("tensorboard", tmp_path / "run") as run:
        run.log(0, {"kl": 0.5, "gold": float("nan")})
        run.log(3, {"kl": 1.5, "gold": 2.0})
        run.alert(3, "it has left")
    found = _read(tmp_path / "run")
    assert [(e.step, e.value) for e in found.Scalars("kl")] == [(0, 0.5), (3, 1.5)]
    assert [(e.step, e.value) for e in found.Scalars("gold")] == [(3, 2.0)]
    assert [e.step for e in found.Scalars("alarm")] == [3]
    assert "alarm/text_summary" in found.Tags()["tensors"]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_run_logs_its_steps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorboard", reason="the extra tensorboard is not installed")
    typed = ["rl", "-o", str(tmp_path / "run"), "--head", "linear", "--pairs", "200", "--embedder", "hashing"]
    assert cli.run([*typed, "--steps", "3", "--batch", "4", "--track", "tensorboard"]) == 0, capsys.readouterr().err
    steps = Trajectory.load(tmp_path / "run").steps
    found = _read(tmp_path / "run")
    for name in ("kl", "proxy", "gold"):
        assert [e.value for e in found.Scalars(name)] == pytest.approx([getattr(s, name) for s in steps], rel=1e-6)
    assert [e.value for e in found.Scalars("mean/flattery")] == pytest.approx([s.means["flattery"] for s in steps])


def test_a_tracker_that_is_not_there_is_told_with_its_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *rest: Any, **more: Any) -> Any:
        if name.partition(".")[0] in ("mlflow", "wandb", "trackio", "tensorboard"):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    for name in [n for n in sys.modules if n.startswith(("torch.utils.tensorboard", "tensorboard"))]:
        monkeypatch.delitem(sys.modules, name)
    for name, (module, _) in TRACKERS.items():
        if name != "tensorboard":
            monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(MissingExtraError, match=rf"pip install 'embrm\[{name}\]'"), tracking(name, tmp_path):
            pass
    with pytest.raises(UnknownNameError, match="Did you mean 'wandb'"), tracking("wanb", tmp_path):
        pass


def test_without_a_tracker_nothing_is_written(tmp_path: Path) -> None:
    with tracking(None, tmp_path) as run:
        run.log(0, {"kl": 1.0})
        run.alert(0, "nothing")
    assert isinstance(run, Run)
    assert not list(tmp_path.iterdir())
