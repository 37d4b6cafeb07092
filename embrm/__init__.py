"""Study reward hacking and train robust reward models on a laptop, from frozen text embeddings.

The public names are loaded when they are first used, so `import embrm` costs nothing.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from embrm import bestofn, detectors, embedders, heads, selectors
    from embrm.adversarial import adversarial_rounds
    from embrm.device import use_device
    from embrm.errors import EmbrmError
    from embrm.heads._saved import load_model
    from embrm.outcomes import Choice, Reward, Verdict
    from embrm.reading import read_candidates, read_pairs
    from embrm.tuning import tune
    from embrm.types import Candidates, Features, Pairs, Problem

__version__ = "0.1.0"

_home = {
    "adversarial_rounds": "embrm.adversarial",
    "use_device": "embrm.device",
    "EmbrmError": "embrm.errors",
    "load_model": "embrm.heads._saved",
    "Choice": "embrm.outcomes",
    "Reward": "embrm.outcomes",
    "Verdict": "embrm.outcomes",
    "read_candidates": "embrm.reading",
    "read_pairs": "embrm.reading",
    "tune": "embrm.tuning",
    "Candidates": "embrm.types",
    "Features": "embrm.types",
    "Pairs": "embrm.types",
    "Problem": "embrm.types",
}
_modules = ("bestofn", "detectors", "embedders", "heads", "selectors")

__all__ = [
    "Candidates",
    "Choice",
    "EmbrmError",
    "Features",
    "Pairs",
    "Problem",
    "Reward",
    "Verdict",
    "adversarial_rounds",
    "bestofn",
    "detectors",
    "embedders",
    "heads",
    "load_model",
    "read_candidates",
    "read_pairs",
    "selectors",
    "tune",
    "use_device",
]


def __getattr__(name: str) -> Any:
    if name in _modules:
        return importlib.import_module(f"embrm.{name}")
    if name in _home:
        return getattr(importlib.import_module(_home[name]), name)
    raise AttributeError(f"module 'embrm' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
