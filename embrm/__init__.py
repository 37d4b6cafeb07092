"""Study reward hacking and train robust reward models on a laptop, from frozen text embeddings.

The public names are loaded when they are first used, so `import embrm` costs nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from embrm.core.faces import lazily
from embrm.core.version import __version__ as __version__

if TYPE_CHECKING:
    from embrm import bestofn, detectors, embedders, heads, selectors
    from embrm.core.data import Candidates, Features, Pairs, Problem
    from embrm.core.device import use_device
    from embrm.core.processes import use_workers
    from embrm.core.results import Choice, Reward, Verdict
    from embrm.core.traces import StepTraces
    from embrm.data.encode import under
    from embrm.data.read import read_candidates, read_pairs
    from embrm.data.traces import read_traces
    from embrm.errors import EmbrmError
    from embrm.heads import load_model
    from embrm.training.adversarial import adversarial_rounds
    from embrm.training.inverse import demonstrations, infer
    from embrm.training.self_training import SelfTraining
    from embrm.training.tuning import tune

_homes = {
    "Candidates": "embrm.core.data",
    "Choice": "embrm.core.results",
    "EmbrmError": "embrm.errors",
    "Features": "embrm.core.data",
    "Pairs": "embrm.core.data",
    "Problem": "embrm.core.data",
    "Reward": "embrm.core.results",
    "SelfTraining": "embrm.training.self_training",
    "StepTraces": "embrm.core.traces",
    "Verdict": "embrm.core.results",
    "adversarial_rounds": "embrm.training.adversarial",
    "bestofn": "embrm.bestofn",
    "demonstrations": "embrm.training.inverse",
    "detectors": "embrm.detectors",
    "embedders": "embrm.embedders",
    "heads": "embrm.heads",
    "infer": "embrm.training.inverse",
    "load_model": "embrm.heads",
    "read_candidates": "embrm.data.read",
    "read_pairs": "embrm.data.read",
    "read_traces": "embrm.data.traces",
    "selectors": "embrm.selectors",
    "tune": "embrm.training.tuning",
    "under": "embrm.data.encode",
    "use_device": "embrm.core.device",
    "use_workers": "embrm.core.processes",
}

__getattr__ = lazily(__name__, _homes)

__all__ = [
    "Candidates",
    "Choice",
    "EmbrmError",
    "Features",
    "Pairs",
    "Problem",
    "Reward",
    "SelfTraining",
    "StepTraces",
    "Verdict",
    "adversarial_rounds",
    "bestofn",
    "demonstrations",
    "detectors",
    "embedders",
    "heads",
    "infer",
    "load_model",
    "read_candidates",
    "read_pairs",
    "read_traces",
    "selectors",
    "tune",
    "under",
    "use_device",
    "use_workers",
]


def __dir__() -> list[str]:
    return __all__
