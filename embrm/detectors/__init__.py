"""The detectors, found by the names of their files: `names()`, `get(name)`, `describe(name)`.

A detector is fitted to reference rows and says how suspicious other rows are; what it says along a run belongs to
`embrm.monitoring`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from embrm.core.faces import lazily
from embrm.core.registry import Registry
from embrm.detectors._registry import registry as _members

if TYPE_CHECKING:
    from embrm.detectors._by_class import ByClass, ClassWarning, fit_by_class
    from embrm.detectors._calibrated import CalibratedDetector, FittedCalibrated, LearntScore
    from embrm.detectors._detector import Detector, FittedDetector, check_rows, one_per_prompt
    from embrm.detectors._permutation import PermutationDetector, SetStatistic

registry: Registry[Detector] = _members
names, get, describe = registry.names, registry.get, registry.describe

__getattr__ = lazily(
    __name__,
    {
        "ByClass": "embrm.detectors._by_class",
        "CalibratedDetector": "embrm.detectors._calibrated",
        "ClassWarning": "embrm.detectors._by_class",
        "Detector": "embrm.detectors._detector",
        "FittedCalibrated": "embrm.detectors._calibrated",
        "FittedDetector": "embrm.detectors._detector",
        "LearntScore": "embrm.detectors._calibrated",
        "PermutationDetector": "embrm.detectors._permutation",
        "SetStatistic": "embrm.detectors._permutation",
        "check_rows": "embrm.detectors._detector",
        "fit_by_class": "embrm.detectors._by_class",
        "one_per_prompt": "embrm.detectors._detector",
    },
)

__all__ = [
    "ByClass",
    "CalibratedDetector",
    "ClassWarning",
    "Detector",
    "FittedCalibrated",
    "FittedDetector",
    "LearntScore",
    "PermutationDetector",
    "SetStatistic",
    "check_rows",
    "describe",
    "fit_by_class",
    "get",
    "names",
    "one_per_prompt",
    "registry",
]
