"""What a training run leaves behind, written step by step so that a stopped run keeps all it had."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from embrm.core.arrays import Array, as_matrix, read_npy
from embrm.core.documents import json_line, parse_json, read_bytes
from embrm.core.files import write_bytes
from embrm.errors import DataError

if TYPE_CHECKING:
    from pydantic import TypeAdapter

_FILE = "trajectory.jsonl"
_NUMBERS = ("kl", "entropy", "proxy", "gold")  # NaN where they are not known: null in the file


@dataclass(frozen=True, eq=False)
class Step:
    """One step of a run.

    Attributes:
        step: its number, from 0; what is recorded is the policy before the step's update.
        kl: KL to π_ref, in nats: exact for a grammar policy, for a language model exact by tokens along the batch.
        entropy: in nats, likewise.
        proxy: mean reward of the batch, as the reward model gave it.
        gold: mean gold reward of the batch, NaN where it is not known.
        means: expected count of each attribute of the world; for a language model their mean in the batch.
        logits: a grammar policy, as one vector.
        sample: some of the batch: prompt, text, proxy, and where they are known counts and gold.
        latent: `(batch, k)` latents of the batch, or None.
        cut: share of the batch that a language model's token limit cut off.
    """

    step: int
    kl: float
    entropy: float
    proxy: float
    gold: float
    means: dict[str, float]
    logits: list[float]
    sample: list[dict[str, Any]]
    latent: Array | None = None
    cut: float = 0.0


@dataclass(frozen=True)
class _Line:
    """A step as it stands in the file."""

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}

    step: int
    kl: float | None
    entropy: float | None
    proxy: float | None
    gold: float | None
    means: dict[str, float]
    logits: list[float]
    sample: list[dict[str, Any]]
    cut: float = 0.0


@dataclass(eq=False)
class Trajectory:
    """The steps of a run; with a folder, each is on disk as soon as it is added.

    The folder holds `trajectory.jsonl`, a line a step, and `latent-0000.npy`, … where latents are recorded.
    """

    folder: Path | None = None
    steps: list[Step] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.folder is not None and not self.steps:
            self.folder.mkdir(parents=True, exist_ok=True)
            if self.begun(self.folder):
                raise DataError(f"{self.folder / _FILE} exists already; give another folder or remove it")

    def __len__(self) -> int:
        return len(self.steps)

    def add(self, step: Step) -> None:
        """Append a step, on disk first."""
        if self.folder is not None:
            line = asdict(step)
            if line.pop("latent") is not None:
                np.save(_latent(self.folder, step.step), np.asarray(step.latent, dtype=np.float32))
            line |= {name: None for name in _NUMBERS if math.isnan(line[name])}
            with (self.folder / _FILE).open("a", encoding="utf-8") as file:
                file.write(json_line(line, nan=True))
        self.steps.append(step)

    def series(self, name: str) -> Array:
        """Return `(steps,)` values of "kl", "entropy", "proxy", "gold", or of the mean count of an attribute."""
        rows: Sequence[Any] = [step.means if step.means.keys() >= {name} else vars(step) for step in self.steps]
        if rows and name not in rows[0]:
            raise DataError(f"no series '{name}'; there are {', '.join([*_NUMBERS, *self.steps[0].means])}")
        return np.array([row[name] for row in rows], dtype=np.float64)

    @staticmethod
    def begun(folder: str | Path) -> bool:
        """Say whether a run has written a step to the folder."""
        return (Path(folder) / _FILE).exists()

    @classmethod
    def again(cls, folder: str | Path, steps: int) -> Trajectory:
        """Return the first steps of an interrupted run to go on with; what the folder holds of later ones is removed.

        Raises:
            DataError: see `load`, or there are fewer steps.
        """
        folder = Path(folder)
        run = cls.load(folder) if steps else cls()
        if len(run) < steps:
            raise DataError(f"expected {steps} steps in {folder / _FILE}, found {len(run)}; it is damaged, begin anew")
        kept = run.steps[:steps]
        lines = read_bytes(folder / _FILE).split(b"\n")[:steps]
        for file in {*folder.glob("latent-*.npy")} - {_latent(folder, step.step) for step in kept}:
            file.unlink()
        if not kept:
            (folder / _FILE).unlink()
            return cls(folder)
        write_bytes(folder / _FILE, b"".join(line + b"\n" for line in lines))
        return cls(folder, kept)

    @classmethod
    def load(cls, folder: str | Path) -> Trajectory:
        """Read a run back, finished or not.

        Raises:
            DataError: the folder holds no run, or one without a step, or a line or a file of latents is damaged. A last
                line that has no end yet is still being written, and is left out.
        """
        folder = Path(folder)
        if not (folder / _FILE).exists():
            raise DataError(f"no {_FILE} in {folder}; give the folder that a run was written to")
        whole = read_bytes(folder / _FILE).rpartition(b"\n")[0]
        lines = [line for line in whole.split(b"\n") if line.strip()]
        steps = [_step(folder, line, number) for number, line in enumerate(lines, start=1)]
        if not steps:
            raise DataError(f"the run in {folder} has no step yet; read it again when it has one")
        return cls(folder, steps)


def _latent(folder: Path, step: int) -> Path:
    return folder / f"latent-{step:04d}.npy"


def _step(folder: Path, line: bytes, number: int) -> Step:
    """Return the step that a line of the file tells of."""
    from pydantic import ValidationError

    where = f"{folder / _FILE} line {number}"
    values = parse_json(line, where)
    try:
        read = _schema().validate_python(values)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise DataError(f"{where}: {place}: {first['msg']}; the line is damaged, take it out") from error
    latent = _latent(folder, read.step)
    x = as_matrix(read_npy(latent, of="latents"), name=str(latent)) if latent.exists() else None
    known = vars(read) | {name: math.nan for name in _NUMBERS if getattr(read, name) is None}
    return Step(**known, latent=x)


@lru_cache(maxsize=1)
def _schema() -> TypeAdapter[_Line]:
    from pydantic import TypeAdapter

    return TypeAdapter(_Line)
