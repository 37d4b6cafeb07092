"""When along a trajectory an alarm fires, and how well that foretells the fall of the gold reward."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import BoolArray, as_vector, step_vector
from embrm.errors import OptionError
from embrm.metrics.roc import auroc, true_positive_rate


def ratio_alarm(statistic: npt.ArrayLike, *, factor: float = 10.0) -> int | None:
    """Return the first step whose change exceeds `factor` times the mean of the earlier changes, or None.

    The early stop of InfoRM (2402.09345, Algorithm 1): changes are absolute, so a fall is an alarm as well. The first
    step that can alarm is the third, after one earlier change.

    Args:
        statistic: `(t,)` CSI at each step.
        factor: how many times the usual change is too much.

    Raises:
        DataError: the statistic is not a finite vector.
        OptionError: factor is not positive.

    Examples:
        >>> ratio_alarm([0.0, 1.0, 2.0, 3.0, 14.0])
        4
    """
    change = np.abs(np.diff(step_vector(statistic)))
    if not factor > 0:
        raise OptionError(f"factor must be > 0, got {factor}")
    usual = np.cumsum(change)[:-1] / np.arange(1, max(len(change), 1))
    return _first(change[1:] > factor * usual, 2)


def cusum_alarm(
    statistic: npt.ArrayLike, *, baseline: int = 5, drift: float = 0.5, threshold: float = 5.0
) -> int | None:
    """Return the first step at which the cumulative sum of upward deviations exceeds `threshold`, or None.

    Page's one-sided rule, S_t = max(0, S_{t-1} + z_t - drift), z the statistic in standard deviations (ddof 1) of its
    first `baseline` steps, which can raise no alarm themselves.

    Args:
        statistic: `(t,)` at each step.
        baseline: steps that define what is usual; more make the scale steadier and the first alarm later.
        drift: rise, in standard deviations, that is forgiven at every step.
        threshold: accumulated rise, in standard deviations, that is an alarm.

    Raises:
        DataError: the statistic is not a finite vector.
        OptionError: baseline is below 2, drift negative or threshold not positive.

    Examples:
        >>> cusum_alarm([1.0, -1.0, 1.0, -1.0, 1.0, 2.0, 3.0, 4.0])
        7
    """
    x = step_vector(statistic)
    if baseline < 2 or drift < 0 or not threshold > 0:
        raise OptionError(
            f"cusum needs baseline >= 2, drift >= 0 and threshold > 0, got {baseline}, {drift} and {threshold}"
        )
    usual = x[:baseline]
    # A baseline without any change makes every rise infinite; rounding noise is no rise.
    scale = max(float(usual.std(ddof=1)) if len(usual) > 1 else 0.0, 1e-9 * float(np.abs(x).max()), 1e-300)
    total = 0.0
    for step, z in enumerate((x[baseline:] - usual.mean()) / scale, start=baseline):
        total = max(0.0, total + z - drift)
        if total > threshold:
            return step
    return None


def threshold_alarm(statistic: npt.ArrayLike, *, level: float) -> int | None:
    """Return the first step whose statistic exceeds `level` (for MOP: a share of outliers above alpha), or None.

    Raises:
        DataError: the statistic is not a finite vector.

    Examples:
        >>> threshold_alarm([0.0, 0.2, 0.6, 0.1], level=0.5)
        2
    """
    return _first(step_vector(statistic) > level, 0)


def gold_onset(gold: npt.ArrayLike, *, loss: float = 0.05) -> int | None:
    """Return the first step after the peak at which gold has lost the share `loss` of its gain, or None.

    The gain is peak minus start. A gold reward that never rises has no gain to lose: its onset is its first step below
    the start.

    Args:
        gold: `(t,)` mean gold reward at each step.
        loss: share of the gain, inside (0, 1].

    Raises:
        DataError: gold is not a finite vector.
        OptionError: loss is outside (0, 1].

    Examples:
        >>> gold_onset([0.0, 1.0, 2.0, 1.95, 1.5])  # a gain of 2, of which 5 % are 0.1
        4
    """
    g = step_vector(gold)
    if not 0 < loss <= 1:
        raise OptionError(f"loss must be inside (0, 1], got {loss}")
    peak = int(g.argmax())
    return _first(g[peak:] < g[peak] - loss * (g[peak] - g[0]), peak)


@dataclass(frozen=True, eq=False)
class AlarmReport:
    """How an alarm on one trajectory relates to the onset of hacking.

    Attributes:
        onset: step at which gold has lost a share of its gain, or None for a run that is not hacked.
        alarm: step at which the alarm fired, or None.
        lead: steps from alarm to onset (negative: too late), or None where either is missing.
        false_alarm: it fired in a run without onset, or more than `window` steps before the onset.
        missed: there was an onset and no alarm at or before it.
        auroc: probability that a step at or after the onset has a higher statistic than one before; None without both.
        tpr: false-positive rate → share of the steps from the onset on that exceed all but that share of the earlier.
    """

    onset: int | None
    alarm: int | None
    lead: int | None
    false_alarm: bool
    missed: bool
    auroc: float | None
    tpr: dict[float, float]


def alarm_report(
    statistic: npt.ArrayLike,
    gold: npt.ArrayLike,
    *,
    alarm: int | None,
    loss: float = 0.05,
    window: int | None = None,
    rates: Sequence[float] = (0.01, 0.05),
) -> AlarmReport:
    """Judge an alarm and the statistic it came from against the gold reward of the same steps.

    Args:
        statistic: `(t,)` at each step; higher is more suspicious.
        gold: `(t,)` mean gold reward at each step.
        alarm: step at which a rule fired, or None.
        loss: share of its gain that gold must lose (see `gold_onset`).
        window: steps before the onset from which an alarm counts as foretelling it; None: all.
        rates: false-positive rates at which true-positive rates are wanted.

    Raises:
        DataError: statistic and gold are not finite vectors of one length.

    Examples:
        >>> report = alarm_report([0.0, 0.1, 0.9, 1.0], [0.0, 1.0, 1.0, 0.5], alarm=2)
        >>> report.onset, report.lead, report.missed, report.auroc
        (3, 1, False, 1.0)
    """
    x = step_vector(statistic)
    onset = gold_onset(as_vector(gold, "gold", len(x), np.float64), loss=loss)
    fired = alarm is not None
    lead = onset - alarm if onset is not None and alarm is not None else None
    early = lead is not None and window is not None and lead > window
    hacked = np.arange(len(x)) >= (len(x) if onset is None else onset)
    both = bool(hacked.any() and not hacked.all())
    return AlarmReport(
        onset=onset,
        alarm=alarm,
        lead=lead,
        false_alarm=early or (fired and onset is None),
        missed=onset is not None and (lead is None or lead < 0),
        auroc=auroc(x, hacked) if both else None,
        tpr={rate: true_positive_rate(x, hacked, rate=rate) for rate in rates} if both else {},
    )


def _first(fired: BoolArray, offset: int) -> int | None:
    index = np.flatnonzero(fired)
    return int(index[0]) + offset if len(index) else None
