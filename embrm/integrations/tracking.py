"""Numbers of a run as it goes on, in the tracker that one uses: TensorBoard, MLflow, W&B or trackio."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from embrm.core.names import suggestion
from embrm.errors import MissingExtraError, UnknownNameError

PROJECT = "embrm"


class Tracker(Protocol):
    """Where numbers go."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log numbers of a step; those that are not finite are not known, and left out by the caller."""

    def alert(self, step: int, text: str) -> None:
        """Tell of an alarm."""

    def close(self) -> None:
        """End the run; what was logged is written."""


@contextmanager
def tracking(name: str | None, folder: str | Path) -> Iterator[Run]:
    """Give a run of a tracker, closed in any case; without a name one that goes nowhere.

    Args:
        name: "tensorboard", "mlflow", "trackio" or "wandb". TensorBoard writes into `tracking` in the folder, and
            MLflow into `tracking.db` there unless MLFLOW_TRACKING_URI names a server. The others go where their own
            settings say: W&B to its server, unless WANDB_MODE is offline.
        folder: that the run is written to; its name is the run's.

    Raises:
        UnknownNameError: there is no such tracker.
        MissingExtraError: its package is not installed; the message has the command.
    """
    run = Run(None if name is None else open_tracker(name, Path(folder)))
    try:
        yield run
    finally:
        run.close()


class Run:
    """A tracker, or none, for callers that need not ask which.

    Args:
        tracker: where numbers go; None for nowhere.
    """

    def __init__(self, tracker: Tracker | None) -> None:
        self._tracker = tracker

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log the numbers of a step that are finite."""
        known = {name: float(value) for name, value in values.items() if math.isfinite(value)}
        if self._tracker is not None and known:
            self._tracker.log(step, known)

    def alert(self, step: int, text: str) -> None:
        """Tell of an alarm by what the tracker has for that: W&B and trackio have alerts, the others texts and tags."""
        if self._tracker is not None:
            self._tracker.alert(step, text)

    def close(self) -> None:
        """End the run."""
        if self._tracker is not None:
            self._tracker.close()


def open_tracker(name: str, folder: Path) -> Tracker:
    """Begin a run of a tracker; see `tracking`."""
    if name not in TRACKERS:
        raise UnknownNameError(f"no tracker named '{name}'. {suggestion(name, list(TRACKERS))}")
    module, make = TRACKERS[name]
    try:
        library = import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"the tracker '{name}' needs its package, which is not installed: pip install 'embrm[{name}]'"
        ) from error
    return make(library, folder)


class _TensorBoard:
    def __init__(self, library: Any, folder: Path) -> None:
        self._writer = library.SummaryWriter(str(folder / "tracking"))

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)

    def alert(self, step: int, text: str) -> None:
        self._writer.add_text("alarm", text, step)
        self._writer.add_scalar("alarm", 1.0, step)

    def close(self) -> None:
        self._writer.close()


class _MLflow:
    def __init__(self, library: Any, folder: Path) -> None:
        import os

        where = None if os.environ.get("MLFLOW_TRACKING_URI") else f"sqlite:///{(folder / 'tracking.db').absolute()}"
        folder.mkdir(parents=True, exist_ok=True)
        self._client = library.MlflowClient(tracking_uri=where)
        known = self._client.get_experiment_by_name(PROJECT)
        of = known.experiment_id if known else self._client.create_experiment(PROJECT)
        self._run = self._client.create_run(of, run_name=folder.name).info.run_id

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._client.log_metric(self._run, name, value, step=step)

    def alert(self, step: int, text: str) -> None:
        self._client.set_tag(self._run, "alarm", f"step {step}: {text}")

    def close(self) -> None:
        self._client.set_terminated(self._run)


class _Logging:
    """W&B, and trackio, which has its functions."""

    def __init__(self, library: Any, folder: Path) -> None:
        more = {"dir": str(folder)} if library.__name__ == "wandb" else {}
        folder.mkdir(parents=True, exist_ok=True)
        self._library = library
        library.init(project=PROJECT, name=folder.name, **more)

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._library.log(dict(values), step=step)

    def alert(self, step: int, text: str) -> None:
        self._library.alert(title="alarm", text=f"step {step}: {text}")

    def close(self) -> None:
        self._library.finish()


TRACKERS: Mapping[str, tuple[str, Callable[[Any, Path], Tracker]]] = {
    "mlflow": ("mlflow", _MLflow),
    "tensorboard": ("torch.utils.tensorboard", _TensorBoard),
    "trackio": ("trackio", _Logging),
    "wandb": ("wandb", _Logging),
}
