"""Experiments of a study, found by the names of their files: `names()`, `get(name)`, `describe(name)`.

An experiment measures what neither the curves of a fitted head nor detectors do: it gets a data set and a setting, and
returns values prompt by prompt, for claims to read. Other packages' experiments come through the entry points
`embrm.experiments`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from embrm.core.faces import lazily
from embrm.study.experiments._registry import registry

if TYPE_CHECKING:
    from embrm.study.experiments._experiment import Experiment, ExperimentSetting, PerPrompt

names, get, describe = registry.names, registry.get, registry.describe

_NAMES = ("Experiment", "ExperimentSetting", "PerPrompt")
__getattr__ = lazily(__name__, dict.fromkeys(_NAMES, "embrm.study.experiments._experiment"))

__all__ = [
    "Experiment",
    "ExperimentSetting",
    "PerPrompt",
    "describe",
    "get",
    "names",
    "registry",
]
