"""The heads, found by the names of their files: `names()`, `get(name)`, `describe(name)`.

A head learns a reward from pairs of vectors; what acts around a head, such as tuning, is `embrm.training`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from embrm.core.faces import lazily
from embrm.core.registry import Registry
from embrm.heads._registry import registry as _members

if TYPE_CHECKING:
    from embrm.heads._explain import Explanation, Neighbour
    from embrm.heads._head import FittedHead, Head
    from embrm.heads._load import from_pretrained, load_model, restore
    from embrm.heads._principle import PrincipleWarning
    from embrm.heads._retrieval import Evidence, FittedRetrieval, Vote
    from embrm.heads._spread import fit_many, settled
    from embrm.heads.gradient.head import FittedNet, GradientHead

registry: Registry[Head] = _members
names, get, describe = registry.names, registry.get, registry.describe

__getattr__ = lazily(
    __name__,
    {
        "Evidence": "embrm.heads._retrieval",
        "Explanation": "embrm.heads._explain",
        "FittedHead": "embrm.heads._head",
        "FittedNet": "embrm.heads.gradient.head",
        "FittedRetrieval": "embrm.heads._retrieval",
        "GradientHead": "embrm.heads.gradient.head",
        "Head": "embrm.heads._head",
        "Neighbour": "embrm.heads._explain",
        "PrincipleWarning": "embrm.heads._principle",
        "Vote": "embrm.heads._retrieval",
        "fit_many": "embrm.heads._spread",
        "from_pretrained": "embrm.heads._load",
        "load_model": "embrm.heads._load",
        "restore": "embrm.heads._load",
        "settled": "embrm.heads._spread",
    },
)

__all__ = [
    "Evidence",
    "Explanation",
    "FittedHead",
    "FittedNet",
    "FittedRetrieval",
    "GradientHead",
    "Head",
    "Neighbour",
    "PrincipleWarning",
    "Vote",
    "describe",
    "fit_many",
    "from_pretrained",
    "get",
    "load_model",
    "names",
    "registry",
    "restore",
    "settled",
]
