"""What may stand in a saved model's config.json and probe.json; nothing else is taken from them."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from embrm.core.arrays import Array, as_matrix
from embrm.core.documents import parse_json
from embrm.errors import DataError

FORMAT = 3
PROBES = 4  # rows that are scored again at load
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,200}$")]
T = TypeVar("T", bound=BaseModel)


class _SavedPart(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class RecipeRecord(_SavedPart):
    """A recipe as JSON."""

    name: str
    options: dict[str, Any]


class EmbedderRecord(_SavedPart):
    """What embedded the training texts; see `embrm.core.provenance.Provenance`."""

    identity: str
    recipe: RecipeRecord | None
    keep_system: bool


class HeadRecord(_SavedPart):
    """A fitted head, and those that it wraps."""

    name: str
    options: dict[str, Any]
    width: Annotated[int, Field(ge=1, lt=1 << 31)]
    embedder: EmbedderRecord
    record: dict[str, Any]
    arrays: list[Name]
    children: dict[Name, HeadRecord]


class ModelRecord(HeadRecord):
    """All of config.json."""

    format: Literal[3]
    embrm: str


class _Probe(_SavedPart):
    inputs: Annotated[dict[str, list[list[float]]], Field(min_length=1)]
    draws: list[list[float]]


def read_record(data: bytes, name: str) -> dict[str, Any]:
    """Return config.json as plain values that have the right types.

    Raises:
        DataError: they have not; the message names the place.
    """
    return _checked(ModelRecord, data, name).model_dump()


def read_probe(data: bytes, name: str) -> tuple[dict[str, Array], Array]:
    """Return the inputs of probe.json, each `(PROBES, d)` by view, and the draws `(s, PROBES)` that they must give.

    Raises:
        DataError: they are not finite numbers of these shapes.
    """
    probe = _checked(_Probe, data, name)
    inputs = {view: _table(rows, f"{name}: inputs '{view}'") for view, rows in probe.inputs.items()}
    if {len(x) for x in inputs.values()} != {PROBES}:
        raise DataError(f"{name} must have {PROBES} rows of each view; save the model again")
    return inputs, _table(probe.draws, f"{name}: draws")


def _table(rows: list[list[float]], name: str) -> Array:
    if len({len(row) for row in rows}) != 1:
        raise DataError(f"{name} must be rows of one length; save the model again")
    return as_matrix(np.array(rows), name=name)


def _checked(model: type[T], data: bytes, name: str) -> T:
    values = parse_json(data, name)
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise DataError(f"{name}: {where[:200]}: {first['msg']}; the model is damaged, save it again") from error
