"""What a model is called where others list it: in a trainer's logs, by a server."""

from __future__ import annotations

from pathlib import Path

from embrm import heads
from embrm.heads import FittedHead


def model_name(model: str | Path | FittedHead) -> str:
    """Return the name of a model's folder, or the head's name where the model has no folder."""
    if isinstance(model, FittedHead):
        return heads.registry.name_of(model.head)
    return Path(model).name or Path(model).resolve().name
