"""Texts in the wild become data: read, convert, encode (the one way from texts to features).

What is done with pairs and pools afterwards belongs to the rooms above.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from embrm.core.faces import lazily

if TYPE_CHECKING:
    from embrm.data.convert import from_rankings, from_ratings, together, trl_rows
    from embrm.data.encode import Encoded, TruncationWarning, embedder_of, under
    from embrm.data.faults import ReadingWarning, RowRules
    from embrm.data.prompts import read_prompts
    from embrm.data.read import read, read_candidates, read_pairs
    from embrm.data.texts import Texts, read_texts
    from embrm.data.traces import read_traces

__getattr__ = lazily(
    __name__,
    {
        "TruncationWarning": "embrm.data.encode",
        "ReadingWarning": "embrm.data.faults",
        "RowRules": "embrm.data.faults",
        "Encoded": "embrm.data.encode",
        "Texts": "embrm.data.texts",
        "embedder_of": "embrm.data.encode",
        "from_rankings": "embrm.data.convert",
        "from_ratings": "embrm.data.convert",
        "read": "embrm.data.read",
        "read_candidates": "embrm.data.read",
        "read_pairs": "embrm.data.read",
        "read_prompts": "embrm.data.prompts",
        "read_texts": "embrm.data.texts",
        "read_traces": "embrm.data.traces",
        "together": "embrm.data.convert",
        "trl_rows": "embrm.data.convert",
        "under": "embrm.data.encode",
    },
)

__all__ = [
    "Encoded",
    "ReadingWarning",
    "RowRules",
    "Texts",
    "TruncationWarning",
    "embedder_of",
    "from_rankings",
    "from_ratings",
    "read",
    "read_candidates",
    "read_pairs",
    "read_prompts",
    "read_texts",
    "read_traces",
    "together",
    "trl_rows",
    "under",
]
