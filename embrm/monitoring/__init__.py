"""A detector along a run, once, for every caller, and what its alarm is worth.

Detectors themselves are `embrm.detectors`; the report only draws what is said here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from embrm.core.faces import lazily

if TYPE_CHECKING:
    from embrm.monitoring.alarm import Alarm, AlarmWarning
    from embrm.monitoring.log import is_log, read_log
    from embrm.monitoring.onset import AlarmReport, alarm_report, cusum_alarm, gold_onset, ratio_alarm, threshold_alarm
    from embrm.monitoring.rule import AlarmRule, RuleName
    from embrm.monitoring.spaces import Space, principal_axes
    from embrm.monitoring.trace import DetectorTrace, Monitor, follow
    from embrm.monitoring.watch import DetectorReport, TrajectoryReport, check_outputs, watch_run

_HOMES = {
    "alarm": ("Alarm", "AlarmWarning"),
    "log": ("is_log", "read_log"),
    "onset": ("AlarmReport", "alarm_report", "cusum_alarm", "gold_onset", "ratio_alarm", "threshold_alarm"),
    "rule": ("AlarmRule", "RuleName"),
    "spaces": ("Space", "principal_axes"),
    "trace": ("DetectorTrace", "Monitor", "follow"),
    "watch": ("DetectorReport", "TrajectoryReport", "check_outputs", "watch_run"),
}
__getattr__ = lazily(__name__, {name: f"{__name__}.{home}" for home, names in _HOMES.items() for name in names})

__all__ = [
    "Alarm",
    "AlarmReport",
    "AlarmRule",
    "AlarmWarning",
    "DetectorReport",
    "DetectorTrace",
    "Monitor",
    "RuleName",
    "Space",
    "TrajectoryReport",
    "alarm_report",
    "check_outputs",
    "cusum_alarm",
    "follow",
    "gold_onset",
    "is_log",
    "principal_axes",
    "ratio_alarm",
    "read_log",
    "threshold_alarm",
    "watch_run",
]
