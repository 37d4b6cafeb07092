"""What it would take to decide the claims that a small run left open."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from embrm.errors import DataError
from embrm.study.results import Results


@dataclass(frozen=True)
class Need:
    """What one verdict takes.

    Attributes:
        claim: its id, with the mechanism, channel and defence where it is examined under several.
        dataset: where it was examined.
        verdict: on the run's data, after Holm's correction.
        times: how many times as many clusters and seeds decide it, if the effect is as it was seen; 1 where it is
            decided, None where no number would.
        clusters, seeds: how many that are; None likewise.
        core_seconds: what fitting and measuring its heads on these takes: fits grow with seeds, measuring with both.
    """

    claim: str
    dataset: str
    verdict: str
    times: float | None
    clusters: int | None
    seeds: int | None
    core_seconds: float | None


def needs(results: Results) -> list[Need]:
    """Return what every claim of a run takes, those that were not run left out.

    Args:
        results: of a run whose claims were judged.

    Raises:
        DataError: the folder has no claims.json.
    """
    path = (results.folder or Path()) / "claims.json"
    if not path.is_file():
        raise DataError(f"{path} is not there; run `embrm study` to its end, which judges the claims")
    found = json.loads(path.read_text(encoding="utf-8"))
    return [_need(results, row) for row in found if row["verdict"] != "not run"]


def _need(results: Results, row: Mapping[str, Any]) -> Need:
    name = " ".join(filter(None, [row["id"], *(row[part] for part in ("mechanism", "channel", "defence"))]))
    times = row["needed"] if row["holm"] == "inconclusive" else 1.0
    if times is None:
        return Need(name, row["dataset"], row["holm"], None, None, None, None)
    clusters, seeds = (math.ceil(times * (row[part] or 0)) for part in ("clusters", "seeds"))
    spent = list(_spent(results, row))
    seconds = sum(fit * times + measure * times**2 for fit, measure in spent)
    return Need(name, row["dataset"], row["holm"], times, clusters, seeds, seconds)


def _spent(results: Results, row: Mapping[str, Any]) -> Iterator[tuple[float, float]]:
    """Yield the core-seconds of the fits that a claim reads, to fit and to measure."""
    from embrm.study.claims import Case, heads_of

    patterns = heads_of(row["id"])
    for fit in (fit for kind in ("fit", "experiment") for fit in results.select(kind=kind, dataset=row["dataset"])):
        under = row["mechanism"] in ("", Case(fit.cell.mechanism, fit.cell.flips).title)
        if under and any(fnmatchcase(fit.cell.head, pattern) for pattern in patterns):
            yield fit.seconds.get("fit", 0.0), fit.seconds.get("measure", 0.0)
