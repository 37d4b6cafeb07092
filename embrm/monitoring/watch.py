"""Detectors at work: several of them in several spaces, on a set of outputs or along a training run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

import numpy as np

from embrm.core.arrays import Array, IntArray
from embrm.core.files import Rows
from embrm.core.results import Verdict
from embrm.core.trajectory import Trajectory
from embrm.data.texts import Texts, number_prompts
from embrm.detectors import CalibratedDetector, Detector, registry
from embrm.errors import DataError, OptionError
from embrm.evaluation.scorer import Scorer
from embrm.monitoring import onset

Space: TypeAlias = Literal["latent", "joint", "response", "pca", "disagreement", "length"]
Rule: TypeAlias = Literal["auto", "p_value", "ratio", "cusum", "threshold"]
SPACES: tuple[Space, ...] = get_args(Space)
AXES = 32  # principal axes of the space "pca"


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
class Watched:
    """What one detector says along a run in one space.

    Attributes:
        space, detector: their names.
        rule: the onset rule that was applied.
        statistic: `(t,)` of the rows of the last steps, at each step.
        p_values: `(t,)` of these sets, or None.
        alarm: the step at which the rule fired, or None.
        report: how that relates to the fall of the gold reward; None where a step's gold is not known.
        warnings: of the verdicts.
    """

    space: str
    detector: str
    rule: str
    statistic: Array
    p_values: Array | None
    alarm: int | None
    report: onset.AlarmReport | None
    warnings: tuple[str, ...]


def both_sides(
    scorer: Scorer, reference: Texts, outputs: Texts, *, space: Space, member: int = 0
) -> tuple[Array, Array]:
    """Return reference `(m, k)` and outputs `(n, k)` in a space.

    "latent" is one member's, "joint" and "response" are embeddings, "pca" the joint ones on the reference's first 32
    principal axes, "disagreement" the standard deviation over the members' rewards, "length" characters.
    """
    first, second = (_vectors(scorer, texts, space, member) for texts in (reference, outputs))
    return _on_axes(first, second) if space == "pca" else (first, second)


def _vectors(scorer: Scorer, texts: Texts, space: Space, member: int) -> Array:
    if space == "length":
        return np.array([[len(response)] for response in texts.responses], dtype=np.float64)
    if space == "disagreement":
        return scorer.reward(texts).sd[:, None]
    return scorer.vectors(texts, space="joint" if space == "pca" else space, member=member)


def _on_axes(reference: Array, outputs: Array) -> tuple[Array, Array]:
    from sklearn.decomposition import PCA

    axes = PCA(min(AXES, *reference.shape), svd_solver="full").fit(reference)
    return axes.transform(reference), axes.transform(outputs)


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
        reference: usual texts.
        outputs: those in question.
        spaces: see `both_sides`.
        member: whose latents.
        level: chance that any of the detectors raises an alarm on clean outputs (shared by Bonferroni's inequality).
        seed: of splits and permutations.

    Raises:
        OptionError: the level is outside (0, 1).
    """
    _check_level(level)
    known, new = number_prompts(reference, outputs)
    found: list[tuple[str, str, Verdict, float | None]] = []
    for space in spaces:
        x, y = both_sides(scorer, reference, outputs, space=space, member=member)
        for name, recipe in recipes.items():
            verdict = recipe.fit(x, prompt=known, seed=seed).check(y, prompt=new)
            found.append((space, name, verdict, verdict.details.get("p_value")))
    tests = sum(p is not None for *_, p in found)
    return [DetectorReport(s, n, v, p, None if p is None else p <= level / tests) for s, n, v, p in found]


def watch_run(
    recipes: Mapping[str, Detector],
    scorer: Scorer,
    reference: Texts,
    folder: str | Path,
    *,
    spaces: Sequence[Space],
    member: int = 0,
    window: int = 5,
    rule: Rule = "auto",
    limit: float | None = None,
    level: float = 0.01,
    seed: int,
) -> list[Watched]:
    """Check every step of a run that `embrm rl` wrote, finished or not, and say when an alarm fires.

    Latents are those recorded with the run, of all texts of each step; where there are none, and in every other space,
    rows come from the few texts that each step keeps.

    Args:
        recipes: name → detector.
        scorer: turns texts into vectors.
        reference: usual texts.
        folder: of the run.
        spaces: see `both_sides`.
        member: whose latents; recorded ones are those of member 0.
        window: steps whose rows are checked together; more see smaller shifts, later.
        rule: see `first_alarm`.
        limit: of the rule "threshold".
        level: chance of an alarm of any p-valued detector in a run that does not change, however long.
        seed: of splits and permutations.

    Raises:
        DataError: the folder holds no run, or a line of it is not whole.
        OptionError: window or level make no sense, or see `first_alarm`.
    """
    _check_level(level)
    if window < 1:
        raise OptionError(f"window must be at least 1 step, got {window}")
    run = _load(folder)
    gold = _trailing(run.series("gold"), window)
    share = level / (len(recipes) * len(spaces))
    out = []
    for space in spaces:
        x, rows, step = run_sides(scorer, reference, run, space=space, member=member)
        for name, recipe in recipes.items():
            prompt = number_prompts(reference)[0]
            fitted, verdicts = recipe.fit(x, prompt=prompt, seed=seed), []
            for t in range(len(run)):
                verdicts.append(fitted.check(rows[(step > t - window) & (step <= t)]))
            statistic = np.array([v.statistic for v in verdicts])
            p = [v.details.get("p_value") for v in verdicts]
            p_values = None if None in p else np.array(p, dtype=np.float64)
            mine = usual_rule(recipe) if rule == "auto" else rule
            alarm = first_alarm(statistic, p_values, rule=mine, limit=limit, level=share)
            warnings = tuple(dict.fromkeys(w for v in verdicts for w in v.warnings))
            report = onset.alarm_report(statistic, gold, alarm=alarm) if np.isfinite(gold).all() else None
            out.append(Watched(space, name, mine, statistic, p_values, alarm, report, warnings))
    return out


def _load(folder: str | Path) -> Trajectory:
    try:
        return Trajectory.load(folder)
    except json.JSONDecodeError as error:
        raise DataError(
            f"a line of the run in {folder} is not whole ({error}); if the run is still going on, ask again"
        ) from error


def run_sides(
    scorer: Scorer, reference: Texts, run: Trajectory, *, space: Space, member: int = 0
) -> tuple[Array, Array, IntArray]:
    """Return reference `(m, k)`, rows of a run `(n, k)` and the step that each row belongs to, `(n,)`."""
    latents = [step.latent for step in run.steps if step.latent is not None]
    if space == "latent" and member == 0 and len(latents) == len(run):
        sizes = [len(latent) for latent in latents]
        return _vectors(scorer, reference, space, 0), np.concatenate(latents), np.repeat(np.arange(len(run)), sizes)
    kept = [(t, sample) for t, step in enumerate(run.steps) for sample in step.sample]
    values = [{"prompt": sample["prompt"], "response": sample["text"]} for _, sample in kept]
    texts = Texts(
        "texts",
        Rows(str(run.folder), values, list(range(1, len(values) + 1))),
        [row["prompt"] for row in values],
        [row["response"] for row in values],
        np.arange(len(values) + 1),
    )
    return *both_sides(scorer, reference, texts, space=space, member=member), np.array([t for t, _ in kept])


def usual_rule(recipe: Detector) -> Rule:
    """Return the onset rule that suits a detector: InfoRM's for CSI, p-values where they can be small enough."""
    if registry.name_of(recipe) == "csi":
        return "ratio"
    return "p_value" if isinstance(recipe, CalibratedDetector) else "cusum"


def first_alarm(
    statistic: Array, p_values: Array | None, *, rule: Rule, limit: float | None = None, level: float = 0.01
) -> int | None:
    """Return the first step at which an onset rule fires, or None.

    Args:
        statistic: `(t,)`.
        p_values: `(t,)` or None.
        rule: "ratio", "cusum" and "threshold" (above `limit`) as in `embrm.monitoring.onset`; "p_value" fires when the
            set's p-value at step t = 1, 2, … is at most level/(t(t + 1)), which sums to the level over any number of
            steps.
        limit: of the rule "threshold".
        level: of the rule "p_value".

    Raises:
        OptionError: the rule needs a limit, or p-values, that are not there.
    """
    if (rule == "threshold") != (limit is not None):
        raise OptionError("a limit belongs to the rule 'threshold', and that rule to a limit; give both or neither")
    if limit is not None:
        return onset.threshold_alarm(statistic, level=limit)
    if rule == "ratio":
        return onset.ratio_alarm(statistic)
    if rule == "cusum":
        return onset.cusum_alarm(statistic)
    if p_values is None:
        raise OptionError("the rule 'p_value' needs a detector with p-values of whole sets, such as mahalanobis")
    t = np.arange(1, len(p_values) + 1)
    return onset.threshold_alarm(np.log(level / (t * (t + 1))) - np.log(np.maximum(p_values, 1e-300)), level=-1e-12)


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise OptionError(f"level must be inside (0, 1), got {level}")


def _trailing(x: Array, window: int) -> Array:
    """Return the mean of each entry and those before it in the window."""
    total = np.concatenate([[0.0], np.cumsum(x)])
    end = np.arange(1, len(x) + 1)
    start = np.maximum(end - window, 0)
    return np.asarray((total[end] - total[start]) / (end - start))
