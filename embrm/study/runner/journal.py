"""What a run's folder says of the run beside its rows: `config.json` and `log.txt`."""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from embrm.core.files import write_bytes
from embrm.errors import DataError, OptionError
from embrm.study.results import SCHEMA, Cell, Results
from embrm.study.runner.plan import Plan

VERSIONS = ("embrm", "numpy", "scipy", "scikit-learn", "torch", "pyro-ppl")
PAUSE = 2.0  # seconds between two notes of how long a run has taken


class Journal:
    """Keeps `config.json` and `log.txt` of one run; times add up over the runs of one configuration.

    Args:
        folder: of the study.
        plan: all that the study computes.
        before: what the folder held.
        engine: "local" or "ray".
        workers: how many processes.

    Attributes:
        failures: cell → why it failed.
        environment: versions, processor, workers, times.
    """

    def __init__(self, folder: Path, plan: Plan, *, before: Results | None, engine: str, workers: int) -> None:
        self._folder, self._plan = folder, plan
        planned = set(map(str, plan.keys))
        self.failures = {cell: why for cell, why in (before.failures if before else {}).items() if cell in planned}
        earlier: Mapping[str, Any] = before.environment if before and before.config == plan.config else {}
        self._spent, self._begin = earlier.get("seconds", 0.0), time.perf_counter()
        self.environment: dict[str, Any] = {
            "versions": {"python": platform.python_version(), **{name: version(name) for name in VERSIONS}},
            "processor": _processor(),
            "engine": engine,
            "workers": workers,
            "started": earlier.get("started", _now()),
            "finished": None,
        }
        self._noted = self._begin - PAUSE
        self.note()

    def log(self, text: str) -> None:
        """Add an entry to log.txt."""
        path = self._folder / "log.txt"
        if path.is_symlink() or (path.exists() and not path.is_file()):  # to open a queue is to wait for who reads it
            raise DataError(f"{path} is no file, so the run cannot tell what it does; remove it")
        with writing(path), path.open("a", encoding="utf-8") as log:
            log.write(f"{_now()} {text}\n")

    def failed(self, cell: Cell, why: str) -> None:
        """Keep why a cell failed."""
        self.failures[str(cell)] = why
        self.log(f"{cell} failed: {why}")

    def note(self, *, finished: bool = False) -> None:
        """Write config.json, unless that was a moment ago and the run goes on."""
        now = time.perf_counter()
        if not finished and now < self._noted + PAUSE:
            return
        self._noted = now
        self.environment |= {"seconds": round(self._spent + now - self._begin, 2)}
        if finished:
            self.environment["finished"] = _now()
            self.log(f"ends, {len(self.failures)} cells failed")
        stored = {
            "schema": SCHEMA,
            "config": self._plan.config.model_dump(mode="json"),
            "keys": list(self._plan.keys.values()),
            "failures": self.failures,
            "environment": self.environment,
        }
        path = self._folder / "config.json"
        with writing(path):
            write_bytes(path, json.dumps(stored, ensure_ascii=False, indent=1).encode(), follow=False)


@contextmanager
def writing(what: object) -> Iterator[None]:
    """Say what could not be written inside the block, and what to do.

    Raises:
        DataError: the disk is full, or the folder's rights were taken away.
    """
    try:
        yield
    except (OSError, OptionError) as error:
        raise DataError(
            f"could not write {what}: {error}; make room and run the same command again, it goes on from here"
        ) from error


def _processor() -> str:
    """Return the processor's name where the system tells it, else its kind."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(encoding="utf-8").splitlines() if cpuinfo.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
