"""Detectors at work: several of them in several spaces, on a set of outputs or along a training run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embrm.core.arrays import Array
from embrm.core.results import Verdict
from embrm.core.threads import one_thread
from embrm.core.trajectory import Trajectory
from embrm.data.texts import Texts, number_prompts
from embrm.detectors import Detector
from embrm.evaluation.scorer import Scorer
from embrm.monitoring import onset
from embrm.monitoring.rule import AlarmRule, check_level
from embrm.monitoring.spaces import Space, both_sides, run_sides
from embrm.monitoring.trace import follow


@dataclass(frozen=True, eq=False)
class DetectorReport:
    """What one detector says of the outputs in one space.

    Attributes:
        space, detector: their names.
        verdict: all that it says.
        p_value: of the whole set, or None where the detector has none.
        alarm: whether that is at most the level shared by all detectors and spaces; None without a p-value.
    """

    space: str
    detector: str
    verdict: Verdict
    p_value: float | None
    alarm: bool | None


@dataclass(frozen=True, eq=False)
class TrajectoryReport:
    """What one detector says along a run in one space.

    Attributes:
        space, detector: their names.
        rule: the name of the rule that was applied.
        level: the chance of a false alarm in a run that does not change to which the rule was calibrated; None of
            rules that were calibrated to none.
        statistic: `(t,)` of the rows of the last steps, at each step.
        p_values: `(t,)` of these sets, or None.
        alarm: the step at which the rule fired, or None.
        report: how that relates to the fall of the gold reward; None where a step's gold is not known.
        warnings: of the verdicts.
    """

    space: str
    detector: str
    rule: str
    level: float | None
    statistic: Array
    p_values: Array | None
    alarm: int | None
    report: onset.AlarmReport | None
    warnings: tuple[str, ...]


@one_thread
def check_outputs(
    recipes: Mapping[str, Detector],
    scorer: Scorer,
    reference: Texts,
    outputs: Texts,
    *,
    spaces: Sequence[Space],
    member: int = 0,
    level: float = 0.01,
    seed: int,
) -> list[DetectorReport]:
    """Compare the outputs with the reference by each detector in each space.

    Args:
        recipes: name → detector.
        scorer: turns texts into vectors.
        reference: reference texts.
        outputs: those in question.
        spaces: see `both_sides`.
        member: whose latents.
        level: chance that any of the detectors raises an alarm on clean outputs (shared by Bonferroni's inequality).
        seed: of splits and permutations.

    Raises:
        OptionError: the level is outside (0, 1).
    """
    check_level(level)
    known, new = number_prompts(reference, outputs)
    found: list[tuple[str, str, Verdict, float | None]] = []
    for space in spaces:
        x, y = both_sides(scorer, reference, outputs, space=space, member=member)
        for name, recipe in recipes.items():
            verdict = recipe.fit(x, prompt=known, seed=seed).check(y, prompt=new)
            found.append((space, name, verdict, verdict.details.get("p_value")))
    tests = sum(p is not None for *_, p in found)
    return [DetectorReport(s, n, v, p, None if p is None else p <= level / tests) for s, n, v, p in found]


@one_thread
def watch_run(
    recipes: Mapping[str, Detector],
    scorer: Scorer,
    reference: Texts,
    run: str | Path | Trajectory,
    *,
    spaces: Sequence[Space],
    member: int = 0,
    rule: AlarmRule | None = None,
    seed: int,
) -> list[TrajectoryReport]:
    """Check every step of a run that `embrm rl` wrote, finished or not, and say when an alarm fires.

    Latents are those recorded with the run, of all texts of each step; where there are none, and in every other space,
    rows come from the few texts that each step keeps.

    Args:
        recipes: name → detector.
        scorer: turns texts into vectors.
        reference: reference texts.
        run: its folder, or the run, such as `embrm.monitoring.read_log` gives.
        spaces: see `both_sides`.
        member: whose latents; recorded ones are those of member 0.
        rule: when there is an alarm; its level is that of all p-valued detectors and spaces together. None is
            `AlarmRule()`.
        seed: of splits and permutations.

    Raises:
        DataError: the folder holds no run, or one without a step, or a line of it is not whole.
        OptionError: see `AlarmRule.first_alarm`.
    """
    rule = rule or AlarmRule()
    run = run if isinstance(run, Trajectory) else Trajectory.load(run)
    gold = _trailing(run.series("gold"), rule.window)
    prompt = number_prompts(reference)[0]
    reports = []
    for space in spaces:
        known, steps = run_sides(scorer, reference, run, space=space, member=member)
        for name, recipe in recipes.items():
            own = rule.suited_to(recipe).shared(len(recipes) * len(spaces))
            trace = follow(recipe.fit(known, prompt=prompt, seed=seed), steps, window=rule.window)
            alarm = own.first_alarm(trace.statistic, trace.p_values)
            report = onset.alarm_report(trace.statistic, gold, alarm=alarm) if np.isfinite(gold).all() else None
            level = own.level if own.rule == "p_value" else None
            told = (own.rule, level, trace.statistic, trace.p_values, alarm, report, trace.warnings)
            reports.append(TrajectoryReport(space, name, *told))
    return reports


def _trailing(x: Array, window: int) -> Array:
    """Return the mean of each entry and those before it in the window."""
    total = np.concatenate([[0.0], np.cumsum(x)])
    end = np.arange(1, len(x) + 1)
    start = np.maximum(end - window, 0)
    return np.asarray((total[end] - total[start]) / (end - start))
