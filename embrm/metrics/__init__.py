"""Numbers about numbers: bootstrap intervals, calibration of preferences, ROC curves.

They know rewards and pairs as arrays; what they say of a head, a rule or a detector is said in `embrm.evaluation` and
`embrm.monitoring`.
"""

from embrm.metrics.calibration import Abstention, CalibrationReport, calibration_report, fit_temperature, tempered
from embrm.metrics.intervals import Interval, bootstrap
from embrm.metrics.roc import auroc, true_positive_rate

__all__ = [
    "Abstention",
    "CalibrationReport",
    "Interval",
    "auroc",
    "bootstrap",
    "calibration_report",
    "fit_temperature",
    "tempered",
    "true_positive_rate",
]
