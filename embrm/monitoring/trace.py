"""A fitted detector that looks at a growing run, for everybody who has one: finished, live, or inside a study."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from embrm.core.arrays import Array, as_vector
from embrm.core.results import Verdict
from embrm.detectors import FittedDetector
from embrm.errors import OptionError


@dataclass(frozen=True, eq=False)
class DetectorTrace:
    """What a detector said along a run.

    Attributes:
        statistic: `(t,)` of the rows of the window, at each step.
        p_values: `(t,)` of these sets, or None where the detector gave one of them none.
        warnings: of the verdicts, each once.
    """

    statistic: Array
    p_values: Array | None
    warnings: tuple[str, ...]


@dataclass(eq=False)
class Monitor:
    """A fitted detector beside a run: each step's rows are checked together with those of the steps before it.

    Attributes:
        detector: fitted to the reference.
        window: steps whose rows are checked together; 1 takes every step by itself.

    Raises:
        OptionError: the window is below 1.

    Examples:
        >>> import numpy as np
        >>> from embrm import detectors
        >>> from embrm.monitoring import AlarmRule, Monitor
        >>> rng = np.random.default_rng(0)
        >>> recipe = detectors.get("mahalanobis")()
        >>> monitor = Monitor(recipe.fit(rng.normal(size=(400, 3))), window=2)
        >>> for step in range(6):
        ...     verdict = monitor.see(rng.normal(size=(10, 3)) + (step >= 4) * 3)
        >>> trace = monitor.trace
        >>> AlarmRule().suited_to(recipe).first_alarm(trace.statistic, trace.p_values)
        4
    """

    detector: FittedDetector
    window: int = 1
    _rows: list[tuple[Array, npt.ArrayLike | None]] = field(default_factory=list, init=False, repr=False)
    _statistic: list[float] = field(default_factory=list, init=False, repr=False)
    _p_values: list[float | None] = field(default_factory=list, init=False, repr=False)
    _warnings: dict[str, None] = field(default_factory=dict, init=False, repr=False)

    def __post_init__(self) -> None:
        if self.window < 1:
            raise OptionError(f"window must be at least 1 step, got {self.window}")

    def __len__(self) -> int:
        return len(self._statistic)

    def see(self, rows: Array, *, prompt: npt.ArrayLike | None = None) -> Verdict:
        """Check a step's rows together with those of the steps before it in the window.

        Args:
            rows: `(n, k)`.
            prompt: `(n,)` which prompt each row answers; without it every row of the window is one of its own.

        Raises:
            DataError: the window has no rows, they are not finite, or not as wide as the reference's.
        """
        self._rows = [*self._rows, (rows, prompt)][-self.window :]
        prompts = [as_vector(p, "prompt", len(x), np.int64) for x, p in self._rows if p is not None]
        together = np.concatenate([x for x, _ in self._rows])
        whole = len(prompts) == len(self._rows)
        verdict = self.detector.check(together, prompt=np.concatenate(prompts) if whole else None)
        self._statistic.append(verdict.statistic)
        self._p_values.append(verdict.details.get("p_value"))
        self._warnings |= dict.fromkeys(verdict.warnings)
        return verdict

    @property
    def trace(self) -> DetectorTrace:
        """What was said so far."""
        p_values = None if None in self._p_values else np.array(self._p_values, dtype=np.float64)
        return DetectorTrace(np.array(self._statistic, dtype=np.float64), p_values, tuple(self._warnings))


def follow(
    detector: FittedDetector,
    steps: Iterable[Array],
    *,
    prompts: Sequence[npt.ArrayLike] | None = None,
    window: int = 1,
) -> DetectorTrace:
    """Return what a fitted detector says along a whole run.

    Args:
        detector: fitted to the reference.
        steps: the rows `(n, k)` of each step.
        prompts: for each step, which prompt each row answers, `(n,)`.
        window: see `Monitor`.

    Raises:
        DataError: see `Monitor.see`.
        OptionError: see `Monitor`.

    Examples:
        >>> import numpy as np
        >>> from embrm import detectors
        >>> rng = np.random.default_rng(0)
        >>> fitted = detectors.get("mmd")(rounds=99).fit(rng.normal(size=(50, 3)))
        >>> follow(fitted, [rng.normal(size=(30, 3)) + shift for shift in (0, 1, 2)]).p_values[1:]
        array([0.01, 0.01])
    """
    monitor = Monitor(detector, window)
    for i, rows in enumerate(steps):
        monitor.see(rows, prompt=None if prompts is None else prompts[i])
    return monitor.trace
