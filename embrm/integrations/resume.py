"""What an interrupted run of GRPO goes on from: TRL's last checkpoint, and the record up to it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from embrm.core.documents import read_json
from embrm.core.files import write_bytes
from embrm.core.trajectory import Trajectory
from embrm.errors import DataError

FOLDER = "checkpoints"  # beside the record, as long as the run is not done
_ASKED, _SEEN = "run.json", "prompts.json"


@dataclass(frozen=True, eq=False)
class Begun:
    """A run to go on with.

    Attributes:
        trajectory: its steps so far.
        prompts: what the responses of each of them answer, where an alarm needs to know.
        checkpoint: TRL's folder, or None where training begins.
    """

    trajectory: Trajectory
    prompts: list[list[str]]
    checkpoint: Path | None


def interrupted(folder: str | Path) -> bool:
    """Say whether the folder holds a run of GRPO that has begun and not ended."""
    return (Path(folder) / FOLDER / _ASKED).exists()


def begin(folder: Path, asked: Mapping[str, Any]) -> Begun:
    """Return what an interrupted run left in the folder, back to its last checkpoint, or a new run.

    Args:
        folder: of the run.
        asked: what determines the run, ready for JSON.

    Raises:
        DataError: the folder holds a run that is done, one that was asked otherwise, or a damaged one.
    """
    place = folder / FOLDER
    if not interrupted(folder) or not Trajectory.begun(folder):
        run = Trajectory(folder)
        write_bytes(place / _ASKED, json.dumps(asked, indent=2).encode())
        return Begun(run, [], None)
    known = read_json(place / _ASKED)
    if other := [name for name in asked if known.get(name) != asked[name]]:
        raise DataError(
            f"the run in {folder} was interrupted, and begun with another {', '.join(other)}; give what it had "
            f"({place / _ASKED}) to go on, or another folder"
        )
    last = latest(folder)
    prompts = [] if last is None else read_json(last / _SEEN)
    return Begun(Trajectory.again(folder, len(prompts)), prompts, last)


def latest(folder: Path) -> Path | None:
    """Return the last checkpoint of the run in the folder that was written whole, or None."""
    done = [path for path in (folder / FOLDER).glob("checkpoint-*") if (path / _SEEN).exists()]
    return max(done, key=lambda path: int(path.name.rpartition("-")[2]), default=None)


def complete(checkpoint: Path, prompts: list[list[str]]) -> None:
    """Say of a checkpoint that TRL has written whole what the prompts of all steps up to it were."""
    write_bytes(checkpoint / _SEEN, json.dumps(prompts).encode())
