"""When what a detector says along a run is an alarm."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

import numpy as np

from embrm.core.arrays import Array
from embrm.detectors import CalibratedDetector, Detector, registry
from embrm.errors import OptionError
from embrm.monitoring import onset

RuleName: TypeAlias = Literal["auto", "p_value", "ratio", "cusum", "threshold"]
RULES: tuple[RuleName, ...] = get_args(RuleName)


@dataclass(frozen=True)
class AlarmRule:
    """The rule by which a detector's statistic, or its p-values, along a run raise an alarm.

    Attributes:
        rule: "ratio", "cusum" and "threshold" (above `limit`) as in `embrm.monitoring.onset`; "p_value" fires when the
            set's p-value at step t = 1, 2, … is at most level/(t(t + 1)), which sums to the level over any number of
            steps; "auto" is the one that suits the detector, see `suited_to`.
        window: steps whose rows are checked together; more see smaller shifts, later.
        level: of the rule "p_value": chance of an alarm in a run that does not change, however long.
        limit: of the rule "threshold".

    Raises:
        OptionError: there is no such rule, window or level make no sense, or a limit is missing or has no use.

    Examples:
        >>> import numpy as np
        >>> AlarmRule("threshold", limit=2.0).first_alarm(np.array([0.5, 1.0, 2.5, 3.0]))
        2
        >>> p_values = np.array([0.2, 0.03, 0.001])
        >>> AlarmRule("p_value", level=0.1).first_alarm(np.zeros(3), p_values)  # 0.001 <= 0.1/(3 * 4)
        2
    """

    rule: RuleName = "auto"
    window: int = 5
    level: float = 0.01
    limit: float | None = None

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise OptionError(f"the rule of an alarm must be one of {', '.join(RULES)}, got {self.rule!r}")
        check_level(self.level)
        if self.window < 1:
            raise OptionError(f"window must be at least 1 step, got {self.window}")
        if (self.rule == "threshold") != (self.limit is not None):
            raise OptionError("a limit belongs to the rule 'threshold', and that rule to a limit; give both or neither")

    def suited_to(self, detector: Detector) -> AlarmRule:
        """Return the rule with "auto" settled: InfoRM's for CSI, p-values where they can be small enough, else cusum.

        Examples:
            >>> from embrm import detectors
            >>> [AlarmRule().suited_to(detectors.get(name)()).rule for name in ("csi", "mahalanobis", "mmd")]
            ['ratio', 'p_value', 'cusum']
        """
        if self.rule != "auto":
            return self
        if registry.name_of(detector) == "csi":
            return replace(self, rule="ratio")
        return replace(self, rule="p_value" if isinstance(detector, CalibratedDetector) else "cusum")

    def shared(self, among: int) -> AlarmRule:
        """Return the rule of each of so many detectors that raise alarms at the level together (Bonferroni)."""
        return replace(self, level=self.level / among)

    def first_alarm(self, statistic: Array, p_values: Array | None = None) -> int | None:
        """Return the first step at which the rule fires, or None.

        Args:
            statistic: `(t,)` of the rows of the window, at each step.
            p_values: `(t,)` of these rows, or None where the detector has none.

        Raises:
            OptionError: the rule needs p-values that are not there, or is still "auto".
        """
        if self.limit is not None:
            return onset.threshold_alarm(statistic, level=self.limit)
        if self.rule == "ratio":
            return onset.ratio_alarm(statistic)
        if self.rule == "cusum":
            return onset.cusum_alarm(statistic)
        if self.rule == "auto":
            raise OptionError("the rule 'auto' depends on the detector; settle it with suited_to(detector) first")
        if p_values is None:
            raise OptionError("the rule 'p_value' needs a detector with p-values of whole sets, such as mahalanobis")
        t = np.arange(1, len(p_values) + 1)
        excess = np.log(self.level / (t * (t + 1))) - np.log(np.maximum(p_values, 1e-300))
        return onset.threshold_alarm(excess, level=-1e-12)


def check_level(level: float) -> None:
    """Make sure that a level is a probability.

    Raises:
        OptionError: it is not inside (0, 1).
    """
    if not 0 < level < 1:
        raise OptionError(f"level must be inside (0, 1), got {level}")
