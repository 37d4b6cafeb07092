"""What made vectors: an identity to compare with, the recipe that makes more of them, and how texts were written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

ROUNDING = ("precision", "backend")  # a bfloat16 vector serves a head that was fitted on float32


@dataclass(frozen=True)
class Provenance:
    """The embedder behind vectors, as far as it is known; vectors made elsewhere have neither.

    Attributes:
        identity: all that the vectors depend on beside the text; "" where it is not known.
        recipe: the embedder as JSON, `{"name": NAME, "options": {...}}`; None where it is not known.
        keep_system: whether system turns stayed in the prompts of the texts; see `embrm.data.chat`.
        saved: whether it was read from a file, whose paths are those of whoever wrote it.
    """

    identity: str = ""
    recipe: Mapping[str, Any] | None = None
    keep_system: bool = False
    saved: bool = False

    @classmethod
    def of(cls, value: Provenance | str | Mapping[str, Any]) -> Provenance:
        """Return `value` itself, or what an identity alone or `as_json` says."""
        if isinstance(value, Provenance):
            return value
        return cls(value) if isinstance(value, str) else cls(**value)

    def __str__(self) -> str:
        return self.identity

    def as_json(self) -> dict[str, Any]:
        """Return JSON-ready values, which `of` reads."""
        return {"identity": self.identity, "recipe": self.recipe, "keep_system": self.keep_system}

    def agrees(self, other: Provenance) -> bool:
        """Say whether vectors of both may be compared: one is not known, or they differ by rounding at most."""
        if not (self.identity and other.identity):
            return True
        return _but_for_rounding(self.identity) == _but_for_rounding(other.identity)


UNKNOWN = Provenance()  # of vectors made elsewhere


def _but_for_rounding(identity: str) -> str:
    try:
        parts = json.loads(identity)
    except (ValueError, RecursionError):
        return identity
    if not isinstance(parts, dict):
        return identity
    return json.dumps({k: v for k, v in parts.items() if k not in ROUNDING}, sort_keys=True)
