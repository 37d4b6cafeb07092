"""RewardBench, RM-Bench and JudgeBench on local files: section scores of several rewards, and whether they differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embrm.errors import DataError
from embrm.integrations._bench import ALL, CATEGORIES, DOMAINS, SECTIONS, Bench, outcome, scores_of, unpaired
from embrm.integrations._bench_read import read_bench
from embrm.metrics.intervals import Interval, bootstrap

__all__ = ["Bench", "BenchReport", "Difference", "bench_report", "read_bench"]


@dataclass(frozen=True, eq=False)
class Difference:
    """One reward against the first, on the same rows.

    Attributes:
        scores: score by score, this one minus the first, with intervals from the same resamples of prompts.
        gained: rows that only this one has right.
        lost: rows that only the first has right.
        p_value: McNemar's test, exact and two-sided: of `gained` against `lost` under a fair coin (McNemar 1947).
    """

    scores: Mapping[str, Interval]
    gained: int
    lost: int
    p_value: float


@dataclass(frozen=True, eq=False)
class BenchReport:
    """What rewards get on a file of RewardBench or its kin.

    Attributes:
        name: of the set, see `Bench`.
        version: of RewardBench, None for other sets.
        rows, prompts: how many there were; rows of one prompt are resampled together.
        scores: reward → name of a score ("overall", the sections or domains, the subsets) → value in [0, 1] with its
            95 % interval; Ties may exceed 1 by its term for the margin.
        differences: reward → how it differs from the first.
        notes: what a reader must know before comparing with published figures.
    """

    name: str
    version: int | None
    rows: int
    prompts: int
    scores: Mapping[str, Mapping[str, Interval]]
    differences: Mapping[str, Difference]
    notes: tuple[str, ...]


def bench_report(bench: Bench, rewards: Mapping[str, npt.ArrayLike], *, seed: int, draws: int = 2000) -> BenchReport:
    """Score rewards by the rules of RewardBench 1 (2403.13787) or 2 (2506.01937), RM-Bench or JudgeBench.

    Version 1: accuracy of each subset, sections as averages of subsets weighted by their published sizes (math-prm as
    much as all code), overall the mean of the four sections, with the prior sets at half weight where they are in the
    file. Version 2: best-of-4 accuracy of each domain; for Ties 0.3 of each accuracy (reference and tied questions),
    0.2 for margins to the wrong answers that exceed the spread of the right ones, 0.2 where the reference's does too,
    0.01 for by how much; overall the mean of the domains. RM-Bench (2410.16184): shares of right comparisons, easy,
    normal and hard by the styles compared, as means over domains; overall the mean over domains of all levels.
    JudgeBench (2410.12784): the share of pairs with the right order, overall and in each category.

    Args:
        bench: from `read_bench`.
        rewards: name → reward `(m,)` of each text of `bench.texts`; differences are taken from the first.
        seed: of the resampling of prompts.
        draws: how many resamples.

    Raises:
        DataError: there is no reward, one has not one finite number for each text, or all rows belong to one prompt.
    """
    if not rewards:
        raise DataError("there is no reward to score; pass {'name': rewards} with one number a text")
    from scipy.stats import binomtest

    names, score = scores_of(bench)
    found = {name: outcome(bench, reward) for name, reward in rewards.items()}
    first = next(iter(found.values()))

    def named(values: Interval) -> dict[str, Interval]:
        return {name: values[i] for i, name in enumerate(names)}

    differences = {}
    for name, other in list(found.items())[1:]:
        gained = int(np.count_nonzero(other.right & ~first.right))
        lost = int(np.count_nonzero(first.right & ~other.right))
        ahead = bootstrap(
            np.hstack([other.sums, first.sums]),
            seed=seed,
            statistic=lambda both: np.subtract(*(score(half) for half in np.split(both, 2))),
            draws=draws,
        )
        p_value = float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0
        differences[name] = Difference(named(ahead), gained, lost, p_value)
    return BenchReport(
        name=bench.name,
        version=bench.version,
        rows=len(bench),
        prompts=len(first.sums),
        scores={
            name: named(bootstrap(o.sums, seed=seed, statistic=score, draws=draws, within=(0.0, 1.0)))
            for name, o in found.items()
        },
        differences=differences,
        notes=tuple(_notes(bench)),
    )


def _notes(bench: Bench) -> list[str]:
    present = set(bench.subsets)
    notes = []
    if present == {ALL}:
        return [f"no row names its subset; the scores are those of all {len(bench)} rows"]
    if bench.name == "RM-Bench":
        known = present
        wanted = {"chat", "code", "math", "safety-refuse", "safety-response"}
    elif bench.name == "JudgeBench":
        known = {s for s in present if s.startswith(tuple(CATEGORIES.values()))}
        wanted = known
        if missing := [c for c, sign in CATEGORIES.items() if not any(s.startswith(sign) for s in present)]:
            notes.append(f"the scores are not those of the whole benchmark: no rows of {', '.join(missing)}")
    elif bench.version == 1:
        known = {subset for subsets in SECTIONS.values() for subset in subsets}
        wanted = known - set(SECTIONS["Prior Sets"])
        if present & set(SECTIONS["Prior Sets"]):
            wanted = known
    else:
        known = wanted = set(DOMAINS)
    if missing := sorted(wanted - present):
        notes.append(f"the scores are not those of the whole benchmark: no rows of {', '.join(missing)}")
    if others := sorted(present - known):
        count = "do not count" if bench.version and known & present else "count as rows"
        notes.append(f"no section has the subsets {', '.join(others)}; they {count} in the overall score")
    if single := unpaired(bench):
        notes.append(f"{single} questions of Ties have only one of the rows ref and tied; they count in accuracy alone")
    return notes
